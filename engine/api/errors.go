package api

import "errors"

// Opening or restarting a session fails with one of these; package signaling answers each with its HTTP status.
var (
	// ErrNoPublisher: the stream has no publisher.
	ErrNoPublisher = errors.New("the stream has no publisher")
	// ErrStreamTaken: a live publisher holds the stream.
	ErrStreamTaken = errors.New("the stream has a live publisher")
	// ErrBackupTaken: a backup publisher that sends has its place.
	ErrBackupTaken = errors.New("the stream has a backup publisher")
	// ErrFull: a cap on sessions is reached; try again later.
	ErrFull = errors.New("the server is full")
	// ErrStreamFull: the stream has as many viewers as it may have.
	ErrStreamFull = errors.New("the stream has as many viewers as it may have")
	// ErrSourceFull: the peer's source has as many sessions as one may have.
	ErrSourceFull = errors.New("the source has as many sessions as it may have")
	// ErrBusy: too many sessions are still to connect; try again soon.
	ErrBusy = errors.New("too many sessions are still to connect")
	// ErrNoAddress: the machine has no address that peers could reach; it may have one soon.
	ErrNoAddress = errors.New("the server has no address")
	// ErrNoSession: the session has ended, or never was.
	ErrNoSession = errors.New("no such session")
	// ErrNoLayer: the stream has no such layer now.
	ErrNoLayer = errors.New("no such layer")
	// ErrNoDialling: the engine was started without a worker for dialled sessions.
	ErrNoDialling = errors.New("the server does not dial")
	// ErrNoCandidate: an upstream's answer has no candidate that can be tried.
	ErrNoCandidate = errors.New("the upstream has no candidate")
	// ErrClosing: the server is shutting down.
	ErrClosing = errors.New("the server is shutting down")
)
