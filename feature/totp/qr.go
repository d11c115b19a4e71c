package totp

import (
	"bytes"
	"image"
	"image/color"
	"image/png"

	"github.com/boombuler/barcode/qr"

	"github.com/userapi/userapi"
)

const (
	pixels = 5 // of a module, across
	quiet  = 4 // modules of white around the code: without them it is not found (ISO/IEC 18004)
)

// picture draws a QR code as PNG, black on white in one bit.
func picture(text userapi.Secret) ([]byte, error) {
	code, err := qr.Encode(string(text), qr.M, qr.Unicode)
	if err != nil {
		return nil, err
	}
	modules := code.Bounds().Dx()
	side := (modules + 2*quiet) * pixels
	img := image.NewPaletted(image.Rect(0, 0, side, side), color.Palette{color.White, color.Black})
	for y := range modules * pixels {
		for x := range modules * pixels {
			if code.At(x/pixels, y/pixels) == color.Black {
				img.SetColorIndex(x+quiet*pixels, y+quiet*pixels, 1)
			}
		}
	}
	var out bytes.Buffer
	err = png.Encode(&out, img)
	return out.Bytes(), err
}
