#ifndef PENSTOCK_TESTS_FAKE_NVML_H
#define PENSTOCK_TESTS_FAKE_NVML_H

#include <stdatomic.h>
#include <stdint.h>

/* A libnvidia-ml.so.1 without GPUs, for tests of what is read by it: built as libfake_nvml.so (all functions) and
 * libfake_nvml_old.so (an old driver's, with what lists devices and no more). The test that opens it, too, finds its state by
 * the symbol "fake_nvml_state". */
#define FAKE_GPUS_MAX      40u
#define FAKE_INSTANCES_MAX 7u

struct fake_instance {
    unsigned gpu_instance, compute_instance, gpu_slices, compute_slices;
    uint64_t memory_mb; /* 0: there is none in this place */
};

struct fake_gpu {
    const char *name, *uuid;
    unsigned bus;
    int major, minor, numa;
    uint64_t memory_total, memory_used;
    unsigned utilization, temperature, power_mw;
    uint64_t ecc_uncorrected;
    unsigned rows_pending, rows_failed;
    _Atomic unsigned process_pid; /* set after its memory */
    uint64_t process_memory;
    _Atomic unsigned is_mig; /* set after its instances */
    struct fake_instance instances[FAKE_INSTANCES_MAX];
    unsigned links;   /* active NVLinks */
    int link_type;    /* 0 GPU, 2 switch */
    unsigned link_to; /* index of the GPU at the other end */
    uint8_t cluster[16];
    unsigned clique;
    uint8_t fabric_state;
    _Atomic int by_index_result; /* of its handle */
    _Atomic int result;          /* of each question to it, unless 0 */
};

struct fake_nvml {
    unsigned count;
    int init_result;
    struct fake_gpu gpus[FAKE_GPUS_MAX];
    int ancestors[FAKE_GPUS_MAX][FAKE_GPUS_MAX];
    _Atomic int is_hanging; /* questions for memory wait until it is 0 */
    _Atomic uint64_t xid;   /* the next event; 0: none */
    unsigned xid_gpu, xid_gpu_instance;
    _Atomic unsigned open_count; /* init less shutdown */
};

#endif
