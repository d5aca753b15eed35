// Command sfu is a second WHIP/WHEP server, for comparison with ringcast: pion/webrtc in the usual way to build an SFU
// of it. A publisher's tracks become TrackLocalStaticRTP, which copies each packet to every viewer's PeerConnection.
// Interceptors are pion's default. All media is on one UDP port through its mux, and ICE is lite.
//
//	go run ./cmd/ringbench/internal/sfu --http 127.0.0.1:8081 --udp 127.0.0.1:7001
//	ringbench publish --whip http://127.0.0.1:8081/whip/bench
//	ringbench watch --whep http://127.0.0.1:8081/whep/bench --viewers 100
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/pion/interceptor"
	"github.com/pion/rtcp"
	"github.com/pion/webrtc/v4"
)

const (
	maxOffer = 64 << 10
	// keyframePause is the least time between keyframe requests to a publisher.
	keyframePause = 500 * time.Millisecond
	maxPacket     = 1500
)

func main() {
	httpAddr := flag.String("http", "127.0.0.1:8081", "`ADDRESS` of WHIP and WHEP")
	udpAddr := flag.String("udp", "127.0.0.1:7001", "`ADDRESS` of all media, also for viewers to send to")
	active := flag.Bool("active", false, "be the DTLS client, not the server")
	flag.Parse()
	if err := run(*httpAddr, *udpAddr, *active); err != nil {
		fmt.Fprintln(os.Stderr, "sfu:", err)
		os.Exit(1)
	}
}

func run(httpAddr, udpAddr string, active bool) error {
	udp, err := net.ListenPacket("udp", udpAddr)
	if err != nil {
		return err
	}
	api, err := newAPI(udp, active)
	if err != nil {
		return err
	}
	s := &server{api: api, streams: map[string]*stream{}, sessions: map[string]*webrtc.PeerConnection{}}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /whip/{name}", s.publish)
	mux.HandleFunc("POST /whep/{name}", s.watch)
	mux.HandleFunc("DELETE /session/{id}", s.end)
	listener, err := net.Listen("tcp", httpAddr)
	if err != nil {
		return err
	}
	fmt.Printf("http://%s\n", listener.Addr())
	return http.Serve(listener, mux)
}

func newAPI(udp net.PacketConn, active bool) (*webrtc.API, error) {
	codecs := &webrtc.MediaEngine{}
	if err := codecs.RegisterDefaultCodecs(); err != nil {
		return nil, err
	}
	interceptors := &interceptor.Registry{}
	if err := webrtc.RegisterDefaultInterceptors(codecs, interceptors); err != nil {
		return nil, err
	}
	settings := webrtc.SettingEngine{}
	settings.SetLite(true)
	role := webrtc.DTLSRoleServer
	if active {
		role = webrtc.DTLSRoleClient
	}
	if err := settings.SetAnsweringDTLSRole(role); err != nil {
		return nil, err
	}
	settings.SetICEUDPMux(webrtc.NewICEUDPMux(nil, udp))
	settings.SetIncludeLoopbackCandidate(true)
	settings.SetNetworkTypes([]webrtc.NetworkType{webrtc.NetworkTypeUDP4, webrtc.NetworkTypeUDP6})
	return webrtc.NewAPI(
		webrtc.WithMediaEngine(codecs), webrtc.WithInterceptorRegistry(interceptors),
		webrtc.WithSettingEngine(settings),
	), nil
}

// A server has streams by name and sessions by number.
type server struct {
	api *webrtc.API

	mu       sync.Mutex // guards the fields below
	streams  map[string]*stream
	sessions map[string]*webrtc.PeerConnection
	number   int
}

// A stream is one publisher's media.
type stream struct {
	publisher *webrtc.PeerConnection

	mu     sync.Mutex // guards the fields below
	tracks []*webrtc.TrackLocalStaticRTP
	asked  time.Time
}

func (s *server) publish(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	x := &stream{}
	s.exchange(w, r, func(pc *webrtc.PeerConnection) error {
		x.publisher = pc
		pc.OnTrack(func(remote *webrtc.TrackRemote, _ *webrtc.RTPReceiver) { x.forward(remote) })
		s.mu.Lock()
		defer s.mu.Unlock()
		s.streams[name] = x
		return nil
	})
}

// forward copies a track to all its viewers until the publisher ends.
func (x *stream) forward(remote *webrtc.TrackRemote) {
	local, err := webrtc.NewTrackLocalStaticRTP(remote.Codec().RTPCodecCapability, remote.Kind().String(), "sfu")
	if err != nil {
		fmt.Fprintln(os.Stderr, "sfu:", err)
		return
	}
	x.mu.Lock()
	x.tracks = append(x.tracks, local)
	x.mu.Unlock()
	b := make([]byte, maxPacket)
	for {
		n, _, err := remote.Read(b)
		if err != nil {
			return
		}
		if _, err := local.Write(b[:n]); err != nil && !errors.Is(err, io.ErrClosedPipe) {
			return
		}
	}
}

func (s *server) watch(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	x := s.streams[r.PathValue("name")]
	s.mu.Unlock()
	var tracks []*webrtc.TrackLocalStaticRTP
	if x != nil {
		x.mu.Lock()
		tracks = append(tracks, x.tracks...)
		x.mu.Unlock()
	}
	if len(tracks) == 0 {
		w.Header().Set("Retry-After", "1")
		http.Error(w, "nobody publishes this", http.StatusConflict)
		return
	}
	s.exchange(w, r, func(pc *webrtc.PeerConnection) error {
		for _, t := range tracks {
			sender, err := pc.AddTrack(t)
			if err != nil {
				return err
			}
			go x.listen(sender)
		}
		return nil
	})
}

// listen reads a viewer's reports and forwards its keyframe requests. Without this reading, pion answers no NACKs
// either.
func (x *stream) listen(sender *webrtc.RTPSender) {
	for {
		packets, _, err := sender.ReadRTCP()
		if err != nil {
			return
		}
		for _, p := range packets {
			switch p.(type) {
			case *rtcp.PictureLossIndication, *rtcp.FullIntraRequest:
				x.ask()
			}
		}
	}
}

func (x *stream) ask() {
	x.mu.Lock()
	soon := time.Since(x.asked) < keyframePause
	if !soon {
		x.asked = time.Now()
	}
	x.mu.Unlock()
	if soon {
		return
	}
	for _, r := range x.publisher.GetReceivers() {
		if t := r.Track(); t != nil && t.Kind() == webrtc.RTPCodecTypeVideo {
			// A publisher that no longer reads RTCP sends no media either.
			_ = x.publisher.WriteRTCP([]rtcp.Packet{&rtcp.PictureLossIndication{MediaSSRC: uint32(t.SSRC())}})
		}
	}
}

// exchange answers an offer with a session that prepare has set up.
func (s *server) exchange(w http.ResponseWriter, r *http.Request, prepare func(*webrtc.PeerConnection) error) {
	offer, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxOffer))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	pc, err := s.api.NewPeerConnection(webrtc.Configuration{})
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	answer, err := negotiate(pc, string(offer), prepare)
	if err != nil {
		_ = pc.Close() // the session was never used
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	s.mu.Lock()
	s.number++
	id := strconv.Itoa(s.number)
	s.sessions[id] = pc
	s.mu.Unlock()
	pc.OnConnectionStateChange(func(state webrtc.PeerConnectionState) {
		if state == webrtc.PeerConnectionStateFailed {
			s.close(id)
		}
	})
	w.Header().Set("Content-Type", "application/sdp")
	w.Header().Set("Location", "/session/"+id)
	w.WriteHeader(http.StatusCreated)
	_, _ = io.WriteString(w, answer) // a peer that has gone will not check either
}

func negotiate(pc *webrtc.PeerConnection, offer string, prepare func(*webrtc.PeerConnection) error) (string, error) {
	if err := prepare(pc); err != nil {
		return "", err
	}
	if err := pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeOffer, SDP: offer}); err != nil {
		return "", err
	}
	answer, err := pc.CreateAnswer(nil)
	if err != nil {
		return "", err
	}
	gathered := webrtc.GatheringCompletePromise(pc)
	if err := pc.SetLocalDescription(answer); err != nil {
		return "", err
	}
	<-gathered
	return pc.LocalDescription().SDP, nil
}

func (s *server) end(w http.ResponseWriter, r *http.Request) {
	if !s.close(r.PathValue("id")) {
		http.NotFound(w, r)
	}
}

// close ends a session and, if it published, its stream.
func (s *server) close(id string) bool {
	s.mu.Lock()
	pc := s.sessions[id]
	delete(s.sessions, id)
	for name, x := range s.streams {
		if pc != nil && x.publisher == pc {
			delete(s.streams, name)
		}
	}
	s.mu.Unlock()
	if pc == nil {
		return false
	}
	_ = pc.Close() // an error changes nothing
	return true
}
