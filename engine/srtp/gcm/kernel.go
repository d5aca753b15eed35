package gcm

// A kernel is one way to do the work of keys. kernelStandard is crypto/cipher. The others are in assembly. Each
// architecture has a file with
//
//   - kernels, the list of those that this processor can run, the best first and kernelStandard last;
//   - expanded, the memory of an expanded key, with room for the layout of any of its kernels;
//   - expand, which makes an expanded key by the chosen kernel;
//   - crypt, which encrypts src to dst by the chosen kernel, or decrypts it if open, and sets tag to the valid one. dst
//     is at least as long as src.
type kernel uint8

const kernelStandard kernel = 0

// chosen is the kernel of all keys. It is set before the first key, and only tests change it. A key works with the
// kernel that expanded it.
var chosen = kernels[0]

// Kernel names the implementation that keys use on this machine: "standard" for crypto/cipher, else the instructions
// of the assembly.
func Kernel() string { return chosen.String() }
