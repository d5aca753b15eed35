// Package stun makes and answers the connectivity checks of ICE: it parses, verifies and appends Binding requests and
// their responses (RFC 8489, RFC 8445). It knows nothing else of STUN.
//
// Words:
//
//   - A Check is a Binding request, parsed. It is not to be believed until Verify reports that it is authentic.
//   - A Hasher is the scratch that hashing needs, so that neither verifying nor signing allocates.
//   - The password is the one of the side that a request goes to, for its response too.
//
// Binding indications are only recognized (IsIndication), so that they can be counted.
//
// The way of a check: IsBindingRequest sorts out everything else. LocalUfrag finds the ufrag, so that a forged one
// costs nothing more. Check.Parse finds the attributes and proves the FINGERPRINT, and the caller looks up the password
// of LocalUfrag. Hasher.Verify proves MESSAGE-INTEGRITY, and AppendSuccess or AppendError answers. A message that fails
// before that gets no answer.
//
// Concurrency: a Hasher belongs to one thread. Everything else shares nothing.
//
// Buffers: a Check borrows the datagram that it was parsed from, which must not change while the Check is used. Nothing
// is written to it. Answers are appended to the caller's slice.
package stun
