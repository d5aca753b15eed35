package host

// ramUnknown stands for the memory of a machine that does not tell, in bytes.
const ramUnknown = 4 << 30
