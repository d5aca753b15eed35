// Package ufrag makes our half of ICE user names so that forged checks differ from peers'. It needs no state, like SYN
// cookies of TCP. A ufrag carries a tag that only the process's keys can make. A check with a wrong tag was not made
// from an answer of ours. Its sender needs no look-up, no HMAC and no place in a limit.
//
// A ufrag is 31 letters:
//
//	letters  bits  field
//	 0 to 3    24  the term of its key
//	 4 to 11   48  the session's number
//	12 to 14   18  the count of ICE restarts, 16 bits, and the role, 2 bits
//	15 to 30   64  the tag: SipHash-2-4 of the letters before it
//
// A ufrag is no secret: SDP and every check carry it. The password of at least 128 random bits authenticates.
//
// # Terms
//
// A key makes ufrags for one term, an hour, and stays valid for the next. So a ufrag that was harvested opens nothing
// two hours later. A pending session lives for seconds, so its key is always valid. A session that has a path may last
// for days and move to a new address then. Its ufrag is Expired, which proves nothing about its tag. A worker decides
// then by the session's credentials, the XDP program by the list of ufrags that it keeps.
//
// # Concurrency
//
// Keys never change: a turn makes new ones. The controller makes them and hands them to the workers by message and to
// the XDP program before it makes a ufrag with them.
package ufrag
