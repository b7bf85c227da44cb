// The part of NVIDIA's driver that programs call to look for devices: SIMCUDA_DEVICES of them, as CUDA_VISIBLE_DEVICES
// lets this process see them. Like the driver, it reads the environment once. It tells no version, so that a torch
// made for CPUs may stand behind it.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int seen[16], count = -1;

static int total(void) { const char *s = getenv("SIMCUDA_DEVICES"); return s ? atoi(s) : 1; }

int cuInit(unsigned flags) {
    (void)flags;
    if (count >= 0) return count ? 0 : 100; // CUDA_ERROR_NO_DEVICE
    const char *visible = getenv("CUDA_VISIBLE_DEVICES");
    count = 0;
    if (!visible) while (count < total()) { seen[count] = count; count++; }
    char *text = strdup(visible ? visible : ""), *rest = text, *part;
    while ((part = strsep(&rest, ",")) && *part) {
        int i = strncmp(part, "GPU-", 4) ? atoi(part) : (int)strtol(part + 4, NULL, 16);
        if (i < 0 || i >= total()) break; // as the driver: the first that is not there ends the list
        seen[count++] = i;
    }
    free(text);
    return count ? 0 : 100;
}
void simcuda_forget(void) { count = -1; } // what a process has been told before it forks
int cuDeviceGetCount(int *n) { *n = count; return 0; }
int cuDeviceGet(int *device, int n) { *device = seen[n]; return 0; }
int cuDeviceGetName(char *name, int size, int device) {
    (void)device;
    const char *s = getenv("SIMCUDA_NAME");
    snprintf(name, size, "%s", s ? s : "NVIDIA H100 80GB HBM3");
    return 0;
}
int cuDeviceTotalMem_v2(size_t *bytes, int device) {
    (void)device;
    const char *s = getenv("SIMCUDA_MEMORY");
    *bytes = s ? (size_t)atof(s) : (size_t)85e9;
    return 0;
}
int cuDeviceGetUuid_v2(char *digits, int device) { // GPU-0000000N-0000-…
    memset(digits, 0, 16);
    digits[3] = (char)device;
    return 0;
}
