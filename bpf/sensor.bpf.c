/* The sensor's programs, built twice: with -DUSE_BTF (tp_btf, direct loads,
 * function hooks, iterators) and without (raw_tp and probe_read only, for
 * kernels before 5.11 and kernels that need a BTF from outside). */
#include "process.h"
#include "syscall.h"
#include "dns.h"
#ifdef USE_BTF
#include "function.h"
#include "snapshot.h"
#endif

char LICENSE[] SEC("license") = "GPL";
