package cluster

import (
	"context"
	"errors"
	"fmt"
	"time"

	"ringcast/engine/api"
	"ringcast/signaling"
	"ringcast/signaling/client"
	"ringcast/signaling/cluster/directory"
)

const (
	// proofSpan is the time in which a node that claims a stream has to send a packet of it.
	proofSpan = 2 * time.Second
	// proofLook is the time between two looks for that packet.
	proofLook = 20 * time.Millisecond
	// goneSpan is the time in which a node takes back its claim after its publisher has ended. It is also the least
	// time before a node repeats a claim.
	goneSpan = time.Second
)

// errSilent: a node did not send the stream that it claims.
var errSilent = errors.New("no media came")

// Serves pulls a stream from another node beside this node's own publisher, until the first packet. The error is
// directory.ErrUnchecked where this node could not pull, or the other had no room or did not answer. It is another one
// where no packet came within 2 s. All failures but silence take a second more.
func (n *Node) Serves(ctx context.Context, stream string, at directory.Place) error {
	err := n.prove(ctx, stream, at)
	if err == nil || errors.Is(err, errSilent) {
		return err
	}
	select {
	case <-ctx.Done():
	case <-time.After(goneSpan):
	}
	if why := classify(err).reason; why == busy || why == unreachable {
		return fmt.Errorf("%w: %w", directory.ErrUnchecked, err)
	}
	return err
}

// prove dials the session of Serves, and ends it.
func (n *Node) prove(ctx context.Context, stream string, at directory.Place) error {
	span, cancel := context.WithTimeout(ctx, proofSpan)
	defer cancel()
	up := n.upstreamAt(at, stream)
	up.proof = true
	hidden := stream + " at " + string(at.Node) // no client can name it: it has spaces
	c, local, err := n.dial(span, api.Publisher, hidden, api.Dial{Agent: up.shown, Hidden: true})
	if err != nil {
		return fmt.Errorf("%w: %w", directory.ErrUnchecked, err)
	}
	defer n.hangUp(c)
	offer := client.Offer{Role: api.Subscriber, Audio: true, Video: true, Relay: true}
	l, err := up.ask(span, local, &offer, nil, signaling.ReadMedia)
	if err == nil {
		if err = n.Engine.Answered(span, c.id, l.answer); err == nil {
			err = n.awaitPacket(span, hidden, c)
		}
	}
	if err != nil && l.session != nil {
		// The engine says goodbye, too, but a server may keep a session whose media never began.
		rest, cancel := context.WithTimeout(ctx, goneSpan)
		defer cancel()
		_ = l.session.Delete(rest) // its own failure proves nothing more
	}
	return err
}

// awaitPacket waits for the first packet of a stream that this node has dialled.
func (n *Node) awaitPacket(ctx context.Context, stream string, c call) error {
	look := time.NewTicker(proofLook)
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			return errSilent
		case why := <-c.ended:
			return endOf(why)
		case <-look.C:
			if s, ok := n.Engine.Stream(stream); ok && flows(&s) {
				return nil
			}
		}
	}
}
