#ifndef PENSTOCK_KERNELS_CUDA_RUNTIME_CUDA_PRIVATE_H
#define PENSTOCK_KERNELS_CUDA_RUNTIME_CUDA_PRIVATE_H

/* What the files of the real device runtime share: CUDA's runtime (linked into the shared object) and cuBLASLt. */

#include <cublasLt.h>
#include <cuda_runtime.h>

#include "device_runtime.h"

/* What cuBLASLt may use while a product runs; NVIDIA advises 32 MiB for compute capability 9.0. */
#define GEMM_WORKSPACE_BYTES (32u << 20)

/* The algorithm of one kind of product. */
struct gemm_choice {
    bool is_set;
    gemm_type type;
    bool is_bf16_out, accumulate;
    uint32_t m_bucket, n, k;
    uint32_t y_alignment;
    cublasLtMatmulAlgo_t algorithm;
};

/* A model of five kinds of products and twelve sizes of m has 60; those that do not fit replace others. */
#define GEMM_CHOICES_MAX 512u

struct cuda_mapping; /* cuda_sleep.cpp */

struct device {
    device_facts facts;
    cuda_mapping *mapping; /* owned; NULL: the driver cannot map memory, and nothing sleeps */
    bool has_overlap;      /* programmatic dependent launch: compute capability 9.0 */
    bool has_failed;
    char failure[256];
    cublasLtHandle_t library;
    void *workspace;
    gemm_choice choices[GEMM_CHOICES_MAX];
};

struct device_stream {
    device *owner;
    cudaStream_t stream;
    bool overlaps;
};

struct device_event {
    device *owner;
    cudaEvent_t event;
    bool is_recorded;
};

struct device_graph {
    device *owner;
    cudaGraphExec_t graph;
};

/* The first failure is kept: what follows it is its echo. */
void cuda_fail(device *d, const char *what, const char *why);
/* False, and the device has failed: not cudaSuccess. */
bool cuda_check(device *d, cudaError_t error, const char *what);

/* Out of memory is the caller's to deal with; anything else is a failure from before that shows here. */
void *cuda_memory_or_null(device *d, void *memory, cudaError_t error, const char *what);

/* NULL: the driver cannot. All blocks must have been released before the close. */
cuda_mapping *cuda_mapping_open(int ordinal);
void cuda_mapping_close(cuda_mapping *m);

#endif
