/* Stands before libc10_cuda and libcuda where a test pretends that there is a device. Autograd asks these before it runs a
   backward pass; no device is announced until a test asks for it, and none has a context of the driver. */
static int devices = 0;
void albench_pretend(int count) { devices = count; }
signed char _ZN3c104cuda12device_countEv(void) { return (signed char)devices; }
_Bool _ZN3c104cuda17hasPrimaryContextEa(signed char device) { (void)device; return 0; }
