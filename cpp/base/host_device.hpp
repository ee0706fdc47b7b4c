// Marks functions that run on the CPU and on a CUDA device, from one source.
#pragma once

#ifdef __CUDACC__
#define NESTVEC_HOST_DEVICE __host__ __device__
#else
#define NESTVEC_HOST_DEVICE
#endif
