// Package secret proves to the nodes of a cluster that a request, a redirect or a message comes from one of them.
//
// All nodes know one secret of at least 32 bytes. HKDF-SHA256 (RFC 5869) makes four keys of it, one a label:
//
//	route      user name and password of the routes between NATS servers
//	node       tokens of requests between nodes (NodeToken), in the header Ringcast-Node
//	redirect   tokens of redirected clients (Redirect), in the parameter rt of a URL
//	directory  messages about streams and nodes (Signer)
//
// The secret never leaves the process, and no key can stand for another. The secret changes in three
// steps, and each step restarts all nodes, one after the other. First they accept the next secret too. Then they sign
// with it, and accept the old one. At last they have the next one alone.
//
// A request between nodes:
//
//	Caller.Do ─▶ token for method, stream, SHA-256 of the body, audience ─▶ Guard ─▶ handler
//	                                                                         │
//	    learns id and clock, tries once more ◀─ 401, Ringcast-Node-Id, Date ─┘
//
// A Caller knows its peer's id from earlier requests, or from the context (To). Else it sends a token for nobody. The
// 401 has the id and the time, so the second request passes. The same happens after the peer has restarted, and where
// the two clocks differ by more than 30 seconds. So a node with a wrong clock works. The log names it.
//
// A Guard looks at the token before it reads the body. It refuses a token at its second use. For that it remembers
// 65,536 tokens for 60 seconds. A token that finds no room is refused, with 503, and counted: to forget one would allow
// its second use. Only tokens that are good in all else take room, so nobody without the secret can fill it.
//
// A redirect token carries the decision of the gate of the node that redirects: limits and end of session. Its audience
// honours it once, within 30 seconds (Redeemer). The issuer reads the expiry on the audience's clock, as far as that is
// known.
//
// A message has no audience, and may be heard by anybody who shares the NATS server. It is signed together with its
// context: the text of a message about one stream is no message about another one. A replay of the last 30 seconds
// passes Verify. So receivers compare generations, and ask Clocks.Fresh about news. The times of one node's messages
// rise, so a message that is much older than the newest is a replay.
//
// A node whose clock is wrong is known from its answers. A question has a random part, which is in the context of its
// answer. So the answer is fresh, and Clocks.Learn takes its time.
//
// # Form
//
// A token is payload.mac, both in base64url without padding. The payload is a JSON object, and the MAC HMAC-SHA256 over
// the bytes of that object. A message is 32 bytes of HMAC-SHA256, a JSON object, a newline and the body. That HMAC is
// over the length of the context in four bytes, the context, and all after the HMAC.
//
// The object has the version as v. Receivers ignore members that they do not know, and read higher versions like their
// own. A member that a receiver must understand is named in the list must: if the receiver does not know the name, it
// refuses the whole. testdata has the bytes of version 1, which every later version reads and writes.
//
// Concurrency: everything here may be used by any number of goroutines.
package secret
