import Testing

/// Whole sockets in this process, driven by DPDK's front-end. One at a time: each run keeps two CPUs busy.
@Suite(.serialized)
struct PeerMatrixTests {}
