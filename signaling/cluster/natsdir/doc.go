// Package natsdir carries a directory's messages over core NATS. All decisions are in package directory; this is a
// directory.Transport and no more.
//
// NATS comes in two forms:
//
//   - Embedded: each node has a NATS server in its process, with a route to that of every other node. It is for up to
//     32 nodes: a mesh has a connection for each pair.
//   - External: some servers of the operator's. A node that shares them with strangers is safe, as all messages are
//     signed before they get here.
//
// # Subjects
//
//	rc1.where.NAME        questions about a stream; the nodes that serve it subscribe
//	rc1.up.NAME           news of a stream; the nodes that serve it or listen to it subscribe
//	rc1.beat              beats; all nodes subscribe
//	rc1.answer.RANDOM.N   answers to question N of one node
//	rc1.node.ID           hellos between embedded servers
//	rc1.bye.ID            an embedded node leaves
//
// NAME is the stream's name in base32. Interest is the registry. Where no node subscribes to rc1.where.NAME, the server
// says so at once ("no responders"), and no message leaves the node. On an external server a node needs permission to
// publish and to subscribe to rc1.>, and no other.
//
// # When silence is a no
//
// No responders means no only while every node that may know the stream would have been heard. With embedded servers
// that is so while the routes to all nodes of late are up and proven. A route is proven once its other end has answered
// a hello: a route carries everything in order, so its subscriptions are known then. A node that vanished is remembered
// for a minute, one that says goodbye is not. With an external server it is so when the connection has been up for five
// seconds, in which other nodes may come back to it. Everything else, above all no answer within 300 ms, is partial.
//
// Subscriptions and announcements that cross can miss each other. So a directory over NATS asks again while
// viewers wait, as over static peers (BookConfig.Poll).
//
// A stranger on an external server who may subscribe to rc1.where.> is a responder to every question. It learns names
// of streams, and turns each no into a doubt. Nodes therefore want an account of their own there.
//
// # Settings of the embedded server
//
//   - Cluster.PoolSize -1: one connection for each pair of nodes, in place of four. That also keeps messages in order.
//   - Cluster.Username and a check of our own: without a user name the server lets every route in. The check accepts
//     the logins of the current secret and the next. It refuses a route beyond the 31st.
//   - Cluster.TLSConfig verifies the certificate of the side that listens: the dialling side has no password to check.
//     And without TLS its own password travels in clear. A route to a node that others have named goes to its Advertise
//     address, whose host must be a name of that node's certificate.
//   - Cluster.PingInterval 500 ms, two unanswered: a host that vanished is noticed after 1.0 to 1.5 s. A route pings
//     whether it is idle or not.
//   - Cluster.WriteDeadline 1 s with the policy to close: a route's own default is to keep a connection that took some
//     bytes. MaxPending 8 MB: a node that does not read loses its route, and costs no more memory.
//   - Cluster.ConnectRetries 3600: a route that was learned of from another node is tried again for an hour. The
//     default is once. Routes to named peers are tried for ever.
//   - Cluster.NoAdvertise: the address of the loopback listener is nobody else's.
//   - Cluster.Compression off: the default waits for an agreement before the first ping.
//   - Host 127.0.0.1 with a random port, user and password: with DontListen the server waits for its listener for
//     ever before it opens routes. Without a password every local process would be a node. MaxConn 16 bounds strangers.
//   - NoFastProducerStall: a slow node does not slow the client in this process down.
//   - NoSystemAccount: no messages of the server's own. NoSigs: signals are the program's. No monitoring port is set.
//
// # Settings of the client
//
//   - MaxReconnects(-1), IgnoreAuthErrorAbort, RetryOnFailedConnect: it never gives up, not even after the same refusal
//     twice.
//   - ReconnectBufSize(-1): a message without a connection fails at once. An old question is of no use.
//   - FlusherTimeout 1 s: a write to a stuck server ends. Only the writer's goroutine waits for it.
//   - NoEcho: a node does not hear itself.
//   - Subscriptions deliver to five channels of 4,096 messages, one a kind. So no subscription has a goroutine, and a
//     flood of one kind does not crowd out the others.
//
// # Failure
//
// A transport fails static. While it reaches nobody, questions end as partial, at once where there is no connection.
// Receiver.Silent is called once, the gauge ringcast_cluster_nats_up is 0, and nothing blocks. Subscriptions are made
// again by the client when it is back; Receiver.Up reports it.
//
// With the build tag nocluster the program has no NATS, and New fails.
package natsdir
