/* CUDA's driver for cuda-python's own bindings, where there is none: device memory is the host's, and work is
   done at once. It only shows that our arguments pass through the real bindings and arrive as they should. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef unsigned long long address;

static int failing(void) { return getenv("CUDA_FAILS") != NULL; }

int cuInit(unsigned flags) { return flags; }
int cuDriverGetVersion(int *version) { *version = 12060; return 0; }
int cuDeviceGet(int *device, int ordinal) { *device = ordinal + 3; return 0; }
int cuDevicePrimaryCtxRetain(void **context, int device) { *context = (void *)0x77; return device != 3; }
int cuDevicePrimaryCtxRelease_v2(int device) { return device != 3; }
int cuCtxSetCurrent(void *context) { return context != (void *)0x77; }
int cuDeviceGetAttribute(int *value, int attribute, int device) {
    *value = attribute == 18 && getenv("CUDA_INTEGRATED") != NULL;
    return device != 3;
}
int cuMemGetInfo_v2(size_t *free_bytes, size_t *total) { *free_bytes = 5 << 20; *total = 9 << 20; return 0; }
int cuGetErrorName(int error, const char **name) { *name = error == 1 ? "ERROR_ONE" : "OTHER"; return 0; }
int cuGetErrorString(int error, const char **text) { *text = error == 1 ? "error one" : "other"; return 0; }
int cuMemHostAlloc(void **host, size_t size, unsigned flags) { *host = calloc(1, size); return flags != 2; }
int cuMemHostGetDevicePointer_v2(address *device, void *host, unsigned flags) {
    *device = (address)host;
    return flags;
}
int cuMemAlloc_v2(address *device, size_t size) {
    *device = (address)calloc(1, size);
    return failing() ? 2 : 0;
}
int cuMemFree_v2(address device) { free((void *)device); return 0; }
int cuMemFreeHost(void *host) { free(host); return 0; }
int cuMemcpyHtoDAsync_v2(address device, const void *host, size_t size, void *stream) {
    memcpy((void *)device, host, size);
    return stream != (void *)0x88;
}
int cuMemcpyDtoHAsync_v2(void *host, address device, size_t size, void *stream) {
    memcpy(host, (void *)device, size);
    return stream != (void *)0x88;
}
int cuStreamCreate(void **stream, unsigned flags) { *stream = (void *)0x88; return flags != 1; }
int cuStreamDestroy_v2(void *stream) { return stream != (void *)0x88; }
int cuStreamSynchronize(void *stream) { return stream != (void *)0x88 || failing(); }
int cuStreamBeginCapture_v2(void *stream, int mode) { return stream != (void *)0x88 || mode != 1; }
int cuStreamEndCapture(void *stream, void **graph) { *graph = (void *)0x99; return stream != (void *)0x88; }
int cuGraphInstantiateWithFlags(void **executable, void *graph, unsigned long long flags) {
    *executable = (void *)0xAA;
    return graph != (void *)0x99 || flags;
}
int cuGraphLaunch(void *executable, void *stream) {
    return executable != (void *)0xAA || stream != (void *)0x88;
}
int cuGraphExecDestroy(void *executable) { return executable != (void *)0xAA; }
int cuGraphDestroy(void *graph) { return graph != (void *)0x99; }

/* The bindings ask for a name without its version: the newest one that is here. */
int cuGetProcAddress_v2(const char *name, void **found, int version, unsigned long long flags, int *status) {
    const char *suffixes[] = {"_v2", "WithFlags", ""};
    char full[128];
    *found = NULL;
    for (int i = 0; i < 3 && *found == NULL; i++) {
        snprintf(full, sizeof full, "%s%s", name, suffixes[i]);
        *found = dlsym(RTLD_DEFAULT, full);
    }
    if (status != NULL)
        *status = *found == NULL;
    return *found == NULL ? 500 : 0;
}
