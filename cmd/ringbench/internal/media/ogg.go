package media

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"ringcast/engine/rtp"
)

// oggHeader is the length of a page's header before its table of segments (RFC 3533 section 6).
const oggHeader = 27

// continued marks a page whose first packet began on an earlier one.
const continued = 0x01

// parseOgg reads the packets of an Ogg file's first Opus stream (RFC 7845). pion's reader yields pages, and encoders
// put a second of packets on one.
func parseOgg(data []byte) (*File, error) {
	file := &File{codec: rtp.Opus}
	var serial uint32
	var packet []byte
	headers := 0 // OpusHead, then OpusTags
	for len(data) > 0 {
		if len(data) < oggHeader || !bytes.HasPrefix(data, []byte("OggS")) || data[4] != 0 {
			return nil, errors.New("a page without a header of Ogg version 0")
		}
		segments := int(data[26])
		if len(data) < oggHeader+segments {
			return nil, errors.New("a page that ends in its table of segments")
		}
		table, body := data[oggHeader:oggHeader+segments], data[oggHeader+segments:]
		flags, stream := data[5], binary.LittleEndian.Uint32(data[14:])
		if headers == 0 && len(packet) == 0 {
			serial = stream
		}
		if flags&continued == 0 {
			packet = nil
		}
		for _, lacing := range table {
			n := int(lacing)
			if n > len(body) {
				return nil, errors.New("a page that is cut short")
			}
			if stream == serial {
				packet = append(packet, body[:n]...)
			}
			body = body[n:]
			if n == 255 || stream != serial {
				continue
			}
			done := packet
			packet = nil
			switch {
			case headers == 0 && !bytes.HasPrefix(done, []byte("OpusHead")):
				return nil, errors.New("the first stream is not Opus")
			case headers < 2:
				headers++
			default:
				d, err := opusDuration(done)
				if err != nil {
					return nil, fmt.Errorf("packet %d: %w", len(file.frames), err)
				}
				file.frames = append(file.frames, Frame{Units: [][]byte{done}, Duration: d})
			}
		}
		data = body
	}
	return file, nil
}

// opusDuration returns the duration of a packet (RFC 6716 sections 3.1 and 3.2).
func opusDuration(p []byte) (time.Duration, error) {
	if len(p) == 0 {
		return 0, errors.New("an empty Opus packet")
	}
	const unit = 2500 * time.Microsecond
	var frame time.Duration
	switch config := p[0] >> 3; {
	case config < 12: // SILK: 10, 20, 40, 60 ms
		frame = [...]time.Duration{4, 8, 16, 24}[config&3] * unit
	case config < 16: // hybrid: 10, 20 ms
		frame = [...]time.Duration{4, 8}[config&1] * unit
	default: // CELT: 2.5, 5, 10, 20 ms
		frame = unit << (config & 3)
	}
	count := 1
	switch p[0] & 3 {
	case 1, 2:
		count = 2
	case 3:
		if len(p) < 2 {
			return 0, errors.New("an Opus packet without its count of frames")
		}
		count = int(p[1] & 0x3F)
	}
	d := frame * time.Duration(count)
	if d == 0 || d > 120*time.Millisecond {
		return 0, fmt.Errorf("an Opus packet of %v; expected more than 0 and at most 120 ms", d)
	}
	return d, nil
}
