package rtcp_test

import (
	"fmt"

	"ringcast/engine/rtcp"
)

func ExampleReader() {
	const viewer, video = 0xA, 0xB
	compound := rtcp.AppendReceiverReport(nil, viewer, []rtcp.ReportBlock{{SSRC: video, FractionLost: 26}})
	compound = rtcp.AppendNACK(compound, viewer, video, []uint16{65535, 0, 3})
	compound = rtcp.AppendPLI(compound, viewer, video)
	compound = append(compound, 0x80) // not a packet

	var p rtcp.Packet
	reader := rtcp.NewReader(compound)
	for reader.Next(&p) {
		fmt.Printf("%v from %X\n", p.Type, p.SSRC)
		var block rtcp.ReportBlock
		for blocks := p.Blocks(); blocks.Next(&block); {
			fmt.Printf("  %d of 256 packets of %X are lost\n", block.FractionLost, block.SSRC)
		}
		nacks := p.NACKs()
		for seq, ok := nacks.Next(); ok; seq, ok = nacks.Next() {
			fmt.Printf("  %d of %X is missing\n", seq, p.Media)
		}
	}
	fmt.Println("malformed:", reader.Malformed())
	// Output:
	// RR from A
	//   26 of 256 packets of B are lost
	// NACK from A
	//   65535 of B is missing
	//   0 of B is missing
	//   3 of B is missing
	// PLI from A
	// malformed: true
}
