package verification

import (
	"strconv"
	"strings"

	"github.com/nyaruka/phonenumbers"
	"github.com/userapi/userapi"
)

// regionOf is the country (ISO 3166) of a number in E.164, by the number itself: +1, +7 and +44 belong to several. ""
// is none, such as a satellite's, or a range nobody was given. It is not ok when the text is no number.
func regionOf(number string) (region string, kind phonenumbers.PhoneNumberType, ok bool) {
	parsed, err := phonenumbers.Parse(number, "")
	if err != nil {
		return "", phonenumbers.UNKNOWN, false
	}
	if region = phonenumbers.GetRegionCodeForNumber(parsed); !isRegion(region) {
		region = ""
	}
	return region, phonenumbers.GetNumberType(parsed), true
}

func isRegion(region string) bool { return phonenumbers.GetSupportedRegions()[region] }

// costly are the kinds of numbers whose owner earns by what they are sent, or that somebody other than the sender
// prices. A code has no business there.
var costly = map[phonenumbers.PhoneNumberType]bool{
	phonenumbers.PREMIUM_RATE: true, phonenumbers.SHARED_COST: true, phonenumbers.UAN: true,
	phonenumbers.PERSONAL_NUMBER: true, phonenumbers.VOICEMAIL: true,
}

// mask shows of a number its country code and the last two digits, of a mail address its domain.
func mask(to string) string {
	if at := strings.LastIndexByte(to, '@'); at >= 0 {
		return "***" + to[at:]
	}
	parsed, err := phonenumbers.Parse(to, "")
	if err != nil {
		return "***"
	}
	national := phonenumbers.GetNationalSignificantNumber(parsed)
	if len(national) < 4 {
		return "***"
	}
	return "+" + strconv.Itoa(int(parsed.GetCountryCode())) + strings.Repeat("*", len(national)-2) + national[len(national)-2:]
}

// maxErrorText bounds what a gateway's error adds to logs and errors, in bytes.
const maxErrorText = 300

// scrub takes out of a text what a careless backend may have put into it: the message's secrets, words and recipient.
func scrub(text string, m userapi.Message) string {
	var pairs []string
	for _, s := range []string{string(m.Text), string(m.HTML), string(m.Link), string(m.Token), string(m.Code), m.To, strings.TrimPrefix(m.To, "+")} {
		if s != "" {
			pairs = append(pairs, s, "[redacted]")
		}
	}
	text = strings.NewReplacer(pairs...).Replace(text)
	if len(text) > maxErrorText {
		text = text[:maxErrorText] + "…"
	}
	return strings.ToValidUTF8(text, "")
}
