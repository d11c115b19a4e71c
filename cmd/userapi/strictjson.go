package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"strings"

	"github.com/userapi/userapi"
)

// strictJSON reads a settings file. It takes what encoding/json lets pass for a mistake: a key that is not known, in
// another case, or there twice, null, and anything behind the end. Its errors say where, and never show a value. A text
// "env:NAME" stands for the value of that variable of the environment, unless plain.
type strictJSON struct {
	tokens *json.Decoder
	plain  bool // a text is what it says
	secret bool // a userapi.Secret stands in the file itself
}

// read fills in a struct, by its json tags.
func (s *strictJSON) read(in io.Reader, into any) error {
	s.tokens = json.NewDecoder(in)
	if err := s.value("", reflect.ValueOf(into).Elem()); err != nil {
		return err
	}
	if _, err := s.tokens.Token(); !errors.Is(err, io.EOF) {
		return errors.New("there is something behind its end")
	}
	return nil
}

func (s *strictJSON) token() (json.Token, error) {
	token, err := s.tokens.Token()
	if err != nil {
		return nil, fmt.Errorf("is no JSON, seen at byte %d", s.tokens.InputOffset())
	}
	return token, nil
}

func (s *strictJSON) value(at string, into reflect.Value) error {
	if into.Kind() == reflect.Pointer {
		into.Set(reflect.New(into.Type().Elem()))
		return s.value(at, into.Elem())
	}
	token, err := s.token()
	if err != nil {
		return err
	}
	wrong := func(what string) error { return fmt.Errorf("%s has to be %s", cmp.Or(at, "it"), what) }
	switch into.Kind() {
	case reflect.Struct, reflect.Map:
		if token != json.Delim('{') {
			return wrong("an object")
		}
		return s.object(at, into)
	case reflect.Slice:
		if token != json.Delim('[') {
			return wrong("a list")
		}
		return s.list(at, into)
	case reflect.String:
		text, ok := token.(string)
		if !ok {
			return wrong("a text")
		}
		return s.text(at, text, into)
	case reflect.Bool:
		truth, ok := token.(bool)
		if !ok {
			return wrong("true or false")
		}
		into.SetBool(truth)
	default:
		number, ok := token.(float64)
		if !ok || number != float64(int32(number)) {
			return wrong("a whole number")
		}
		into.SetInt(int64(number))
	}
	return nil
}

func (s *strictJSON) object(at string, into reflect.Value) error {
	seen := map[string]bool{}
	for s.tokens.More() {
		token, err := s.token()
		if err != nil {
			return err
		}
		key, _ := token.(string) // the decoder takes nothing else for a key
		inside := strings.TrimPrefix(at+"."+key, ".")
		if seen[key] {
			return fmt.Errorf("%s is there twice", inside)
		}
		seen[key] = true
		if into.Kind() == reflect.Map {
			item := reflect.New(into.Type().Elem()).Elem()
			if err := s.value(inside, item); err != nil {
				return err
			}
			if into.IsNil() {
				into.Set(reflect.MakeMap(into.Type()))
			}
			into.SetMapIndex(reflect.ValueOf(key), item)
			continue
		}
		field := fieldNamed(into, key)
		if !field.IsValid() {
			return fmt.Errorf("there is no key %s", inside)
		}
		if err := s.value(inside, field); err != nil {
			return err
		}
	}
	_, err := s.token() // the end
	return err
}

func fieldNamed(of reflect.Value, key string) reflect.Value {
	for i := range of.NumField() {
		if name, _, _ := strings.Cut(of.Type().Field(i).Tag.Get("json"), ","); name == key {
			return of.Field(i)
		}
	}
	return reflect.Value{}
}

func (s *strictJSON) list(at string, into reflect.Value) error {
	into.Set(reflect.MakeSlice(into.Type(), 0, 0)) // an empty list is not the same as none
	for i := 0; s.tokens.More(); i++ {
		item := reflect.New(into.Type().Elem()).Elem()
		if err := s.value(fmt.Sprintf("%s[%d]", at, i), item); err != nil {
			return err
		}
		into.Set(reflect.Append(into, item))
	}
	_, err := s.token() // the end
	return err
}

func (s *strictJSON) text(at, text string, into reflect.Value) error {
	name, elsewhere := strings.CutPrefix(text, "env:")
	if elsewhere = elsewhere && !s.plain; elsewhere {
		if text = os.Getenv(name); text == "" {
			return fmt.Errorf("%s: the environment variable %s is not set, or empty", at, name)
		}
	}
	if into.Type() == reflect.TypeFor[userapi.Secret]() && text != "" && !elsewhere {
		s.secret = true
	}
	into.SetString(text)
	return nil
}
