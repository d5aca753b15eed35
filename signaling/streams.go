package signaling

import (
	"cmp"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"time"

	"ringcast/engine/api"
	"ringcast/engine/rtp"
	"ringcast/signaling/access"
)

// listed is a stream as anybody may see it.
type listed struct {
	Name string `json:"name"`
	// Codecs are those that are sent now; a track without a packet yet has none.
	Codecs      []string  `json:"codecs"`
	Since       time.Time `json:"since"`
	Subscribers int       `json:"subscribers"`
}

// inspected is a stream as operators see it.
type inspected struct {
	Name        string           `json:"name"`
	Publisher   uint64           `json:"publisher"`
	Tracks      []inspectedTrack `json:"tracks"`
	Since       time.Time        `json:"since"`
	Subscribers int              `json:"subscribers"`
	// Backup is set while the backup publisher is live, Standby while another publisher stands by.
	Backup  bool `json:"backup,omitempty"`
	Standby bool `json:"standby,omitempty"`
}

type inspectedTrack struct {
	Kind string `json:"kind"`
	MID  string `json:"mid,omitempty"`
	// Codec is the codec that is sent now, with its profile; empty before the first packet.
	Codec   string `json:"codec"`
	Profile string `json:"profile,omitempty"`
	// Layers are those of video, the lowest first.
	Layers []inspectedLayer `json:"layers,omitempty"`
	// SoundOnly is the number of subscribers whose networks carry no layer.
	SoundOnly int `json:"soundOnly,omitempty"`
}

type inspectedLayer struct {
	RID string `json:"rid,omitempty"`
	// Bitrate is in bits a second, 0 while the layer is silent.
	Bitrate     uint32 `json:"bitrate"`
	Width       int    `json:"width,omitempty"`
	Height      int    `json:"height,omitempty"`
	Subscribers int    `json:"subscribers"`
}

// serveStreams answers /streams. A stream's name is all that a viewer needs where there is no view
// token, and where there is one the list takes it too.
func (s *Server) serveStreams(w http.ResponseWriter, r *request) error {
	admitted, err := s.authorize(r, access.Read, api.Subscriber, "")
	if err != nil {
		return err
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return wrongMethod(r, pageMethods)
	}
	list := []listed{} // JSON has no nil
	for _, st := range byName(s.engine.Streams()) {
		if admitted.Listed != nil && !admitted.Listed.Match(st.Name) {
			continue
		}
		l := listed{Name: st.Name, Codecs: []string{}, Since: st.Since.UTC(), Subscribers: st.Subscribers}
		for i := range st.Tracks {
			if f, ok := activeFormat(&st, i); ok {
				l.Codecs = append(l.Codecs, f.Codec.String())
			}
		}
		list = append(list, l)
	}
	return writeJSON(w, list)
}

// inspectStreams answers the admin listener's /api/streams.
func inspectStreams(w http.ResponseWriter, streams []api.Stream) error {
	list := []inspected{}
	for _, st := range byName(streams) {
		in := inspected{
			Name: st.Name, Publisher: uint64(st.Publisher), Tracks: []inspectedTrack{}, Since: st.Since.UTC(),
			Subscribers: st.Subscribers, Backup: st.Backup, Standby: st.Standby,
		}
		for i, t := range st.Tracks {
			track := inspectedTrack{Kind: t.Kind.String(), MID: t.MID}
			if f, ok := activeFormat(&st, i); ok {
				track.Codec, track.Profile = f.Codec.String(), f.Profile
			}
			if t.Kind == rtp.Video { // a publication has at most one track of it
				track.SoundOnly = st.SoundOnly
				for _, l := range st.Ladder {
					track.Layers = append(track.Layers, inspectedLayer{l.RID, l.Rate, l.Width, l.Height, l.Subscribers})
				}
			}
			in.Tracks = append(in.Tracks, track)
		}
		list = append(list, in)
	}
	return writeJSON(w, list)
}

// activeFormat returns the format that a track carries now; ok is false before its first packet.
func activeFormat(st *api.Stream, track int) (f rtp.Format, ok bool) {
	if track >= len(st.Active) {
		return f, false
	}
	formats := st.Tracks[track].Formats
	i := slices.IndexFunc(formats, func(f rtp.Format) bool { return int(f.PayloadType) == st.Active[track] })
	if i < 0 {
		return f, false
	}
	return formats[i], true
}

// byName orders streams, which the engine lists in no order.
func byName(streams []api.Stream) []api.Stream {
	slices.SortFunc(streams, func(a, b api.Stream) int { return cmp.Compare(a.Name, b.Name) })
	return streams
}

func writeJSON(w http.ResponseWriter, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return internal(err)
	}
	body = append(body, '\n')
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	_, _ = w.Write(body) // a peer that has gone away needs no answer
	return nil
}
