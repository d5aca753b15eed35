package rtp_test

import (
	"fmt"

	"ringcast/engine/rtp"
)

func ExampleHeader_Parse() {
	packet := []byte{
		0x90, 0xE0, 0x12, 0x34, // version 2, an extension block; marker, payload type 96; sequence number
		0x00, 0x01, 0x5F, 0x90, // timestamp
		0xCA, 0xFE, 0x00, 0x01, // SSRC
		0xBE, 0xDE, 0x00, 0x01, // one word of extensions in the one-byte form
		0x31, 0x00, 0x07, 0x00, // number 3, two bytes; one byte of padding
		'v', 'i', 'd', 'e', 'o', // the payload, which may be encrypted
	}
	var numbers rtp.ExtensionMap // as negotiated
	numbers[rtp.TransportSequence] = 3

	var h rtp.Header
	if !h.Parse(packet, &numbers) {
		fmt.Println("malformed")
		return
	}
	fmt.Println("type", h.PayloadType, "sequence", h.Sequence, "timestamp", h.Timestamp, "marker", h.Marker)
	if value, ok := h.Value(packet, rtp.TransportSequence); ok {
		fmt.Println("transport-wide number", value)
	}
	fmt.Printf("payload %s\n", packet[h.HeaderLen:])
	// Output:
	// type 96 sequence 4660 timestamp 90000 marker true
	// transport-wide number [0 7]
	// payload video
}
