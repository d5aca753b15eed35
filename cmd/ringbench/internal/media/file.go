package media

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"time"

	"github.com/pion/webrtc/v4/pkg/media/h264reader"

	"ringcast/engine/rtp"
)

// maxFile is the most bytes of a file, which is kept in memory.
const maxFile = 1 << 30

// probe is the packet size for finding a file's keyframes.
const probe = 1200

// ErrFile is wrapped by the errors for files that cannot be published.
var ErrFile = errors.New("unusable media file")

// A File is a media file in memory, parsed.
type File struct {
	codec  rtp.Codec
	frames []Frame
}

// Open reads an IVF file (VP8, VP9 or AV1), an Annex-B byte stream (H.264) or Ogg Opus. It recognizes each by its first
// bytes. frameRate is for byte streams, which contain none.
func Open(path string, frameRate float64) (*File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	if len(data) > maxFile {
		return nil, fmt.Errorf("%s: %w: more than %d bytes", path, ErrFile, maxFile)
	}
	file, err := Parse(data, frameRate)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return file, nil
}

// Parse is Open for a file in memory. The error wraps ErrFile.
func Parse(data []byte, frameRate float64) (file *File, err error) {
	switch {
	case bytes.HasPrefix(data, []byte("DKIF")):
		file, err = parseIVF(data)
	case bytes.HasPrefix(data, []byte("OggS")):
		file, err = parseOgg(data)
	case bytes.HasPrefix(data, []byte{0, 0, 1}), bytes.HasPrefix(data, []byte{0, 0, 0, 1}):
		file, err = parseH264(data, frameRate)
	default:
		return nil, fmt.Errorf("%w: neither IVF, nor Ogg, nor an H.264 byte stream", ErrFile)
	}
	switch {
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrFile, err)
	case len(file.frames) == 0:
		return nil, fmt.Errorf("%w: no frames", ErrFile)
	}
	file.findKeyframes()
	if file.codec.Kind() == rtp.Video && !file.frames[0].Key {
		return nil, fmt.Errorf("%w: it does not begin with a keyframe", ErrFile)
	}
	return file, nil
}

// Codec returns the codec of the file.
func (f *File) Codec() rtp.Codec { return f.codec }

// Source returns a source that loops over the file.
func (f *File) Source() Source { return &cursor{file: f} }

func (f *File) findKeyframes() {
	p := NewPacketizer(f.codec, probe)
	for i := range f.frames {
		var content rtp.Content
		for _, payload := range p.Packets(f.frames[i]) {
			content |= rtp.ContentOf(f.codec, payload)
		}
		f.frames[i].Key = content.Starts()
	}
}

type cursor struct {
	file *File
	next int
	key  int // the index of the last keyframe
}

func (c *cursor) Codec() rtp.Codec { return c.file.codec }
func (c *cursor) Generated() bool  { return false }

// Next goes back to the last keyframe if one is wanted: a file has no others.
func (c *cursor) Next(want Want) Frame {
	if c.next == len(c.file.frames) {
		c.next = 0
	}
	if want == Keyframe && c.file.codec.Kind() == rtp.Video && !c.file.frames[c.next].Key {
		c.next = c.key
	}
	f := c.file.frames[c.next]
	if f.Key {
		c.key = c.next
	}
	c.next++
	return f
}

// Lengths in an IVF file, whose numbers are little-endian.
const (
	ivfHeader      = 32
	ivfFrameHeader = 12
)

// parseIVF reads the frames in place. pion's reader allocates as much as a frame's header claims, and it multiplies
// times where it should divide.
func parseIVF(data []byte) (*File, error) {
	if len(data) < ivfHeader {
		return nil, errors.New("an IVF file without its header")
	}
	file := &File{}
	switch fourCC := string(data[8:12]); fourCC {
	case "VP80":
		file.codec = rtp.VP8
	case "VP90":
		file.codec = rtp.VP9
	case "AV01":
		file.codec = rtp.AV1
	default:
		return nil, fmt.Errorf("IVF with codec %q; expected VP80, VP90 or AV01", fourCC)
	}
	rate, scale := binary.LittleEndian.Uint32(data[16:]), binary.LittleEndian.Uint32(data[20:])
	if rate == 0 || scale == 0 {
		return nil, errors.New("IVF with a time base of 0")
	}
	ticks := float64(time.Second) * float64(scale) / float64(rate)
	var times []time.Duration
	for data = data[ivfHeader:]; len(data) > 0; {
		if len(data) < ivfFrameHeader {
			return nil, errors.New("a frame's header that is cut short")
		}
		n, at := uint64(binary.LittleEndian.Uint32(data)), binary.LittleEndian.Uint64(data[4:])
		data = data[ivfFrameHeader:]
		if n > uint64(len(data)) {
			return nil, errors.New("a frame that is cut short")
		}
		if n > 0 {
			file.frames = append(file.frames, Frame{Units: [][]byte{data[:n:n]}})
			times = append(times, time.Duration(min(float64(at)*ticks, math.MaxInt64/2)))
		}
		data = data[n:]
	}
	return file, file.setDurations(times)
}

// setDurations takes the differences of the frames' times. The last frame lasts as long as the one before it.
func (f *File) setDurations(times []time.Duration) error {
	const longest = 10 * time.Second
	last := time.Second / 30
	for i := range f.frames {
		if i+1 < len(times) {
			last = times[i+1] - times[i]
		}
		if last <= 0 || last > longest {
			return fmt.Errorf("frame %d lasts %v; expected more than 0 and at most %v", i, last, longest)
		}
		f.frames[i].Duration = last
	}
	return nil
}

// H.264 NAL unit types (RFC 6184 section 5.2).
const (
	naluSlice = 1
	naluIDR   = 5
	naluSEI   = 6
	naluSPS   = 7
	naluPPS   = 8
)

// parseH264 gathers NAL units into access units (H.264 section 7.4.1.2.3). One begins where a NAL unit after a slice
// cannot follow in the same access unit.
func parseH264(data []byte, frameRate float64) (*File, error) {
	if frameRate <= 0 {
		return nil, errors.New("an H.264 byte stream has no frame rate; expected --fps")
	}
	r, err := h264reader.NewReader(bufio.NewReader(bytes.NewReader(data)))
	if err != nil {
		return nil, err
	}
	file := &File{codec: rtp.H264}
	interval := time.Duration(float64(time.Second) / frameRate)
	var units [][]byte
	sliced := false
	end := func() {
		if sliced {
			file.frames = append(file.frames, Frame{Units: units, Duration: interval})
			units, sliced = nil, false
		}
	}
	for {
		nal, err := r.NextNAL()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		if len(nal.Data) < 2 {
			continue
		}
		switch nal.Data[0] & 0x1F {
		case naluSlice, naluIDR:
			if nal.Data[1]&0x80 != 0 { // first_mb_in_slice is 0
				end()
			}
			sliced = true
		case naluDelimiter, naluSEI, naluSPS, naluPPS:
			end()
		}
		units = append(units, bytes.Clone(nal.Data))
	}
	end()
	return file, nil
}
