package cluster

import (
	"ringcast/engine/api"
	"ringcast/signaling/cluster/directory"
)

// elsewhere returns the number of viewers that a stream has at other nodes, as their last beats say.
func (n *Node) elsewhere(stream string) int {
	if n.directory == nil {
		return 0
	}
	return n.directory.Viewers(stream)
}

// Stream is that of the engine, with the viewers of all nodes. Layers count those of this node.
func (n *Node) Stream(name string) (api.Stream, bool) {
	s, ok := n.Engine.Stream(name)
	if ok {
		s.Subscribers += n.elsewhere(name)
	}
	return s, ok
}

// Streams are those of the engine, with the viewers of all nodes.
func (n *Node) Streams() []api.Stream {
	all := n.Engine.Streams()
	for i := range all {
		all[i].Subscribers += n.elsewhere(all[i].Name)
	}
	return all
}

// View is that of the engine, with the viewers of all nodes.
func (n *Node) View(id api.SessionID) (api.View, bool) {
	v, ok := n.Engine.View(id)
	if v.Stream.Name != "" {
		v.Stream.Subscribers += n.elsewhere(v.Stream.Name)
	}
	return v, ok
}

// viewersOf has the streams with viewers here.
func viewersOf(streams []api.Stream) directory.Viewers {
	viewers := make(directory.Viewers)
	for i := range streams {
		if n := streams[i].Subscribers; n > 0 {
			viewers[streams[i].Name] = n
		}
	}
	return viewers
}
