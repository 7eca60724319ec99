package main

import (
	"fmt"
	"log"

	"github.com/fxamacker/cbor/v2"

	"github.com/counterfoil/counterfoil"
)

// Any library with the two methods is a codec: here CBOR, whose modes have them.
func ExampleCodec() {
	encode, err := cbor.CoreDetEncOptions().EncMode()
	if err != nil {
		log.Fatal(err)
	}
	decode, err := cbor.DecOptions{DupMapKey: cbor.DupMapKeyEnforcedAPF}.DecMode()
	if err != nil {
		log.Fatal(err)
	}
	type codec struct {
		cbor.EncMode
		cbor.DecMode
	}
	var c counterfoil.Codec = codec{encode, decode} // Config.Codec
	data, err := c.Marshal(map[string]int{"apples": 3})
	if err != nil {
		log.Fatal(err)
	}
	var cart map[string]int
	fmt.Println(len(data), c.Unmarshal(data, &cart), cart)
	// Output: 9 <nil> map[apples:3]
}
