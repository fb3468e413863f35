// For functions that the host and the device share: TITAN_HOST_DEVICE is empty outside of nvcc.
#pragma once

#if defined(__CUDACC__)
#define TITAN_HOST_DEVICE __host__ __device__
#else
#define TITAN_HOST_DEVICE
#endif
