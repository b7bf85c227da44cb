// A CUDA device on main memory, for a CPU build of PyTorch: real values, real allocations, real device checks.
//
// Tensors of device `cuda:N` have a storage of their own (class Pool counts its bytes, and throws CUDA's out-of-memory
// error at a limit). Every operator that only a CUDA build implements comes to `fallback`, which checks the devices of
// its arguments as a CUDA build does, and calls the CPU's kernel on the same memory. All else (autograd, views, autocast,
// streams, generators) is PyTorch's own code. SIMCUDA_DRY=1 computes shapes and memory only (kernels of `meta`).
#include <torch/extension.h>
#include <torch/library.h>
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/EmptyTensor.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <chrono>
#include <map>
#include <mutex>
#include <set>

using at::IntArrayRef, at::ScalarType, at::Tensor, c10::Device, c10::DeviceIndex, c10::IValue, c10::Storage, c10::Stream;
using std::optional, std::string, std::vector;

extern "C" {
int cuInit(unsigned); int cuDeviceGetCount(int*); int cuDeviceGet(int*, int); int cuDeviceTotalMem_v2(size_t*, int);
void simcuda_forget(void);
}

namespace sim {
constexpr auto CUDA = c10::DeviceType::CUDA;
const bool dry = getenv("SIMCUDA_DRY") && string(getenv("SIMCUDA_DRY")) == "1";
thread_local DeviceIndex current = 0;
std::mutex mutex;
std::map<string, int64_t> counts;             // launches, syncs, copies, and calls by operator
std::map<string, char> unchecked;             // operator -> 'T' if TensorIterator checks devices, 'N' if nothing does
std::set<int> contexts;                       // devices on which this process has a context
vector<int> numbers;                          // of the visible devices, in the machine
bool asked = false;                           // whether the driver was, for these numbers
std::set<const void*> pinned;
struct Memory { int64_t now = 0, peak = 0, total = 0, limit = 0, ooms = 0; } memory[16];
vector<at::Generator> generators;

// The number of visible devices. The driver is asked at the first need, and what it says then holds, as in CUDA.
int devices() {
  static std::mutex once;
  std::lock_guard<std::mutex> lock(once);
  if (asked) return numbers.size();
  asked = true;
  int n = 0, number;
  if (cuInit(0) == 0) cuDeviceGetCount(&n);
  for (int i = 0; i < n; i++) {
    size_t bytes;
    cuDeviceGet(&number, i); cuDeviceTotalMem_v2(&bytes, number);
    numbers.push_back(number);
    memory[i].total = bytes;
    memory[i].limit = getenv("SIMCUDA_LIMIT") ? (int64_t)std::stod(getenv("SIMCUDA_LIMIT")) : (int64_t)bytes;
  }
  return n;
}

void count(const string& what, int64_t by = 1) { std::lock_guard<std::mutex> lock(mutex); counts[what] += by; }
void touch(DeviceIndex i) {  // creates the context, of which a device in exclusive mode has one
  std::lock_guard<std::mutex> lock(mutex);
  if (!contexts.insert(i).second || !getenv("SIMCUDA_EXCLUSIVE")) return;
  int file = open((string(getenv("SIMCUDA_EXCLUSIVE")) + "/context" + std::to_string(numbers[i])).c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0600);
  bool alone = file >= 0 && flock(file, LOCK_EX | LOCK_NB) == 0;
  if (!alone) contexts.erase(i);
  TORCH_CHECK(alone, "CUDA error: CUDA-capable device(s) is/are busy or unavailable");
}
void require(DeviceIndex i) { TORCH_CHECK(i < devices(), "CUDA error: invalid device ordinal"); }

// --- memory ------------------------------------------------------------------------------------------------------------
struct Block { void* data; size_t size; DeviceIndex device; };
void release(void* context) {
  auto block = static_cast<Block*>(context);
  dry ? (void)munmap(block->data, block->size) : free(block->data);
  { std::lock_guard<std::mutex> lock(mutex); memory[block->device].now -= block->size; }
  delete block;
}
struct Pool final : c10::Allocator {
  c10::DataPtr allocate(size_t n) override {
    touch(current);
    if (!n) return {nullptr, nullptr, [](void*) {}, Device(CUDA, current)};
    size_t size = (n + 511) / 512 * 512;  // as CUDA's caching allocator rounds
    {
      std::lock_guard<std::mutex> lock(mutex);
      auto& m = memory[current];
      if (m.now + (int64_t)size > m.limit) {
        m.ooms++;
        TORCH_CHECK_WITH(OutOfMemoryError, false, "CUDA out of memory. Tried to allocate ", n / 1048576.0, " MiB. GPU ",
          (int)current, " has a total capacity of ", m.limit / 1073741824.0, " GiB of which ",
          (m.limit - m.now) / 1073741824.0, " GiB is free.");
      }
      m.now += size; m.peak = std::max(m.peak, m.now);
    }
    void* data = dry ? mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)
                     : aligned_alloc(512, size);
    if (!dry) memset(data, 0xff, size);  // NaN: nobody may rely on what new memory holds
    return {data, new Block{data, size, current}, &release, Device(CUDA, current)};
  }
  void copy_data(void* to, const void* from, size_t n) const override { default_copy_data(to, from, n); }
} pool;
struct Pinned final : c10::Allocator {
  c10::DataPtr allocate(size_t n) override {
    void* data = aligned_alloc(512, (n + 512) / 512 * 512);
    { std::lock_guard<std::mutex> lock(mutex); pinned.insert(data); counts["pinned_bytes"] += n; }
    return {data, data, [](void* p) { { std::lock_guard<std::mutex> lock(mutex); pinned.erase(p); } free(p); }, at::kCPU};
  }
  void copy_data(void* to, const void* from, size_t n) const override { default_copy_data(to, from, n); }
} pinned_pool;

// --- devices, streams, events, generators --------------------------------------------------------------------------------
struct Guard final : c10::impl::DeviceGuardImplInterface {
  static constexpr c10::DeviceType static_type = CUDA;
  Guard() = default;
  Guard(c10::DeviceType) {}
  c10::DeviceType type() const override { return CUDA; }
  Device exchangeDevice(Device d) const override { Device old = getDevice(); setDevice(d); return old; }
  Device getDevice() const override { return Device(CUDA, current); }
  void setDevice(Device d) const override { if (d.index() >= 0) { require(d.index()); current = d.index(); } }
  void uncheckedSetDevice(Device d) const noexcept override { if (d.index() >= 0) current = d.index(); }
  Stream stream(Device d) const { return Stream(Stream::DEFAULT, Device(CUDA, d.index() < 0 ? current : d.index())); }
  Stream getStream(Device d) const override { return stream(d); }
  Stream getDefaultStream(Device d) const override { return stream(d); }
  Stream getStreamFromGlobalPool(Device d, bool) const override { return stream(d); }
  Stream getNewStream(Device d, int) const override { return stream(d); }
  Stream exchangeStream(Stream s) const override { return stream(s.device()); }
  DeviceIndex deviceCount() const noexcept override { return devices(); }
  void record(void** event, const Stream&, DeviceIndex, c10::EventFlag) const override {
    if (!*event) *event = new double;
    *static_cast<double*>(*event) = std::chrono::duration<double, std::milli>(
      std::chrono::steady_clock::now().time_since_epoch()).count();
  }
  void block(void*, const Stream&) const override {}
  bool queryEvent(void*) const override { return true; }
  void destroyEvent(void* event, DeviceIndex) const noexcept override { delete static_cast<double*>(event); }
  double elapsedTime(void* a, void* b, DeviceIndex) const override { return *(double*)b - *(double*)a; }
  bool queryStream(const Stream&) const override { return true; }
  void synchronizeStream(const Stream&) const override { count("syncs"); }
  void synchronizeEvent(void*) const override { count("syncs"); }
  void synchronizeDevice(DeviceIndex i) const override { touch(i); count("syncs"); }
};
C10_REGISTER_GUARD_IMPL(CUDA, Guard)

struct Generator final : at::CPUGeneratorImpl {  // the CPU's numbers, but a stream of its own
  explicit Generator(DeviceIndex i) { device_ = Device(CUDA, i); key_set_ = c10::DispatchKeySet(c10::DispatchKey::CUDA); }
};
at::Generator generator(DeviceIndex i) { return at::make_generator<Generator>(i < 0 ? current : i); }
const at::Generator& default_generator(DeviceIndex i) {
  if (generators.empty()) for (int n = 0; n < devices(); n++) generators.push_back(generator(n));
  return generators.at(i < 0 ? current : i);
}

// --- operators -----------------------------------------------------------------------------------------------------------
struct Call {  // one call of the fallback: tensors of the device, and what stands for them in the CPU's kernel
  vector<std::pair<Tensor, Tensor>> pairs;
  vector<bool> written;
  Tensor stand_in(const Tensor& x, bool writes = false) {
    if (!x.defined() || (!x.is_cuda() && (!dry || x.dim() == 0))) return x;
    for (auto& [own, other] : pairs) if (own.is_same(x)) return other;
    auto place = Device(dry ? at::kMeta : at::kCPU);
    c10::DispatchKeySet keys(dry ? c10::DispatchKey::Meta : c10::DispatchKey::CPU);
    Tensor y;
    if (writes && !x.numel() && !dry) {
      y = at::empty(x.sizes(), x.options().device(at::kCPU));  // which the kernel may enlarge
    } else {
      const auto& s = x.storage();
      Storage same(c10::make_intrusive<c10::StorageImpl>(c10::StorageImpl::use_byte_size_t(), s.nbytes(),
        c10::DataPtr(dry ? nullptr : const_cast<void*>(s.data()), place), dry ? c10::GetAllocator(at::kMeta) : nullptr, dry));
      y = at::detail::make_tensor<c10::TensorImpl>(std::move(same), keys, x.dtype());
      y.unsafeGetTensorImpl()->set_sizes_and_strides(x.sizes(), x.strides(), x.storage_offset());
    }
    pairs.emplace_back(x, y); written.push_back(writes);
    return y;
  }
  static Tensor made(const Tensor& y, Device device) {  // a tensor of the device with the same numbers
    c10::DeviceGuard guard(device);
    bool dense = y.is_non_overlapping_and_dense();
    Tensor x = at::detail::empty_strided_generic(y.sizes(), dense ? y.strides() : y.contiguous().strides(), &pool,
      c10::DispatchKeySet(c10::DispatchKey::CUDA), y.scalar_type());
    if (!dry && y.numel()) memcpy(x.mutable_data_ptr(), (dense ? y : y.contiguous()).const_data_ptr(), y.nbytes());
    return x;
  }
  Tensor back(const Tensor& y, optional<Device> device) {
    if (!y.defined()) return y;
    for (auto& [own, other] : pairs) if (other.is_same(y)) return own;
    for (auto& [own, other] : pairs) {
      if (y.storage().unsafeGetStorageImpl() != other.storage().unsafeGetStorageImpl()) continue;
      Tensor view = at::detail::make_tensor<c10::TensorImpl>(c10::TensorImpl::VIEW, Storage(own.storage()),
        own.key_set(), y.dtype());
      view.unsafeGetTensorImpl()->set_sizes_and_strides(y.sizes(), y.strides(), y.storage_offset());
      return view;
    }
    return device ? made(y, *device) : y;
  }
  void settle() {  // what the kernel has enlarged
    for (size_t n = 0; n < pairs.size(); n++) {
      auto& [own, other] = pairs[n];
      if (!written[n] || (own.sizes() == other.sizes() && own.strides() == other.strides())) continue;
      Tensor x = made(other, own.device());
      own.unsafeGetTensorImpl()->set_storage_keep_dtype(x.storage());
      own.unsafeGetTensorImpl()->set_sizes_and_strides(x.sizes(), x.strides(), 0);
    }
  }
};

bool random(const c10::OperatorHandle& op) { return op.hasTag(at::Tag::nondeterministic_seeded); }

void fallback(const c10::OperatorHandle& op, c10::DispatchKeySet, torch::jit::Stack* stack) {
  const auto& schema = op.schema();
  const size_t n = schema.arguments().size(), start = stack->size() - n;
  const string name = schema.name() + (schema.overload_name().empty() ? "" : "." + schema.overload_name());
  const char kind = unchecked.count(name) ? unchecked[name] : 'E';
  Call call;
  optional<Device> device;
  optional<at::Generator> numbers;
  auto each = [&](auto visit) {  // every tensor: with its argument, and a place to put another one
    for (size_t i = 0; i < n; i++) {
      IValue& v = (*stack)[start + i];
      const auto& argument = schema.arguments()[i];
      if (v.isTensor()) { v = visit(v.toTensor(), argument); continue; }
      if (v.isTensorList()) { c10::List<Tensor> l; for (Tensor x : v.toTensorList()) l.push_back(visit(x, argument)); v = l; }
      if (v.isOptionalTensorList()) {
        c10::List<optional<Tensor>> l;
        for (optional<Tensor> x : v.toOptionalTensorList())
          l.push_back(x && x->defined() ? optional<Tensor>(visit(*x, argument)) : std::nullopt);
        v = l;
      }
    }
  };
  auto writes = [](const c10::Argument& a) { return a.alias_info() && a.alias_info()->isWrite(); };
  each([&](const Tensor& x, const c10::Argument&) { if (x.defined() && x.is_cuda() && !device) device = x.device(); return x; });
  each([&](const Tensor& x, const c10::Argument& a) {
    if (!x.defined() || kind == 'N' || !device || x.device() == *device) return x;
    bool scalar = kind == 'T' && x.is_cpu() && x.dim() == 0 && !writes(a);
    bool index = kind == 'T' && x.is_cpu() && a.name() == "indices";
    TORCH_CHECK(scalar || index, "Expected all tensors to be on the same device, but got ", a.name(), " is on ", x.device(),
      ", different from other tensors on ", *device, " (when checking argument in method wrapper_CUDA_", name, ")");
    return x;
  });
  for (size_t i = 0; i < n; i++) {
    IValue& v = (*stack)[start + i];
    if (v.isDevice()) { if (!device) device = v.toDevice(); v = Device(dry ? at::kMeta : at::kCPU); }
    if (v.isGenerator()) {
      numbers = v.toGenerator();
      TORCH_CHECK(numbers->device().type() == CUDA, "Expected a 'cuda' device type for generator but found 'cpu'");
      v = IValue();
    }
  }
  if (device && device->index() < 0) device = Device(CUDA, current);
  each([&](const Tensor& x, const c10::Argument& a) { return call.stand_in(x, writes(a)); });
  bool view = false;
  for (const auto& r : schema.returns()) view |= r.alias_info() && !r.alias_info()->isWrite();
  static const std::set<string> waits{"aten::_local_scalar_dense", "aten::nonzero", "aten::equal", "aten::masked_select",
    "aten::_unique2", "aten::unique_dim", "aten::unique_consecutive", "aten::_unique", "aten::repeat_interleave.Tensor"};
  if (waits.count(name)) count("syncs");
  if (!view) { count("launches"); count(name); }
  if (device) touch(device->index());
  auto keys = c10::DispatchKeySet(dry ? c10::DispatchKey::Meta : c10::DispatchKey::CPU);
  if (dry && name == "aten::_local_scalar_dense") {
    auto type = (*stack)[start].toTensor().scalar_type();
    stack->pop_back();
    stack->push_back(type == at::kBool ? at::Scalar(false) : at::isFloatingType(type) ? at::Scalar(0.0) : at::Scalar(0));
    return;
  }
  if (!dry && (numbers || random(op))) {
    auto& cpu = at::detail::getDefaultCPUGenerator();
    auto own = numbers ? *numbers : default_generator(device->index());
    auto before = cpu.get_state();
    auto mutable_cpu = cpu;
    mutable_cpu.set_state(own.get_state());
    op.redispatchBoxed(keys, stack);
    own.set_state(cpu.get_state());
    mutable_cpu.set_state(before);
  } else {
    op.redispatchBoxed(keys, stack);
  }
  for (size_t i = stack->size() - schema.returns().size(); i < stack->size(); i++) {
    IValue& v = (*stack)[i];
    if (v.isTensor()) v = call.back(v.toTensor(), device);
    else if (v.isTensorList()) { c10::List<Tensor> l; for (Tensor y : v.toTensorList()) l.push_back(call.back(y, device)); v = l; }
  }
  call.settle();
}

Tensor empty(IntArrayRef size, optional<ScalarType> t, optional<at::Layout>, optional<Device> d, optional<bool>,
             optional<at::MemoryFormat> f) {
  if (d && d->has_index()) require(d->index());
  c10::OptionalDeviceGuard guard(d);
  return at::detail::empty_generic(size, &pool, c10::DispatchKeySet(c10::DispatchKey::CUDA), c10::dtype_or_default(t), f);
}
Tensor empty_strided(IntArrayRef size, IntArrayRef stride, optional<ScalarType> t, optional<at::Layout>, optional<Device> d,
                     optional<bool>) {
  if (d && d->has_index()) require(d->index());
  c10::OptionalDeviceGuard guard(d);
  return at::detail::empty_strided_generic(size, stride, &pool, c10::DispatchKeySet(c10::DispatchKey::CUDA),
    c10::dtype_or_default(t));
}
Tensor& copy_(Tensor& self, const Tensor& source, bool non_blocking) {
  if (self.is_same(source)) return self;
  const char* way = self.is_cpu() ? "to_host" : source.is_cpu() ? "to_device" : "copies";
  const auto& host = self.is_cpu() ? self : source;
  bool waits = !(non_blocking && host.is_cpu() && pinned.count(host.storage().data()));
  count(way); count(string(way) + "_bytes", self.nbytes());
  if (self.is_cpu() || source.is_cpu()) { if (waits) count("syncs"); } else count("launches");
  touch(self.is_cuda() ? self.device().index() : source.device().index());
  if (dry) return self.is_cpu() ? self.zero_() : self;
  Call call;
  auto to = call.stand_in(self, false), from = call.stand_in(source);
  at::_ops::copy_::redispatch(c10::DispatchKeySet(c10::DispatchKey::CPU), to, from, false);
  return self;
}
const Tensor& resize_(const Tensor& self, IntArrayRef size, optional<at::MemoryFormat>) {
  auto impl = self.unsafeGetTensorImpl();
  auto storage = impl->unsafe_storage().unsafeGetStorageImpl();
  size_t need = at::detail::computeStorageNbytesContiguous(size, self.itemsize(), self.storage_offset());
  if (need > storage->nbytes()) {
    c10::DeviceGuard guard(self.device());
    auto data = pool.allocate(need);
    if (!dry && storage->nbytes()) memcpy(data.get(), storage->data(), storage->nbytes());
    storage->set_data_ptr_noswap(std::move(data));
    storage->set_nbytes(need);
  }
  impl->set_sizes_contiguous(size);
  return self;
}
Tensor& set_strided(Tensor& self, Storage source, int64_t offset, IntArrayRef size, IntArrayRef stride) {
  auto impl = self.unsafeGetTensorImpl();
  impl->set_storage_keep_dtype(source);
  impl->set_storage_offset(offset);
  stride.empty() && !size.empty() ? impl->set_sizes_contiguous(size) : impl->set_sizes_and_strides(size, stride);
  return self;
}
Tensor& set_whole(Tensor& self, Storage source) {
  return set_strided(self, source, 0, {int64_t(source.nbytes() / self.itemsize())}, {1});
}
Tensor& set_tensor(Tensor& self, const Tensor& x) { return set_strided(self, x.storage(), x.storage_offset(), x.sizes(), x.strides()); }
void record_stream(Tensor&, c10::Stream) {}

// Fused attention, unless a program forbids it: the CPU's flash kernel, whose memory is that of CUDA's.
Tensor attention(const Tensor& q, const Tensor& k, const Tensor& v, const optional<Tensor>& mask, double p, bool causal,
                 optional<double> scale, bool gqa) {
  auto& context = at::globalContext();
  if (!(context.userEnabledFlashSDP() || context.userEnabledMemEfficientSDP()) || q.dim() != 4 || p > 0)
    return std::get<0>(at::_scaled_dot_product_attention_math(q, k, v, mask, p, causal, std::nullopt, scale, gqa));
  auto wide = [&](const Tensor& x) { return gqa && !dry ? x.repeat_interleave(q.size(1) / x.size(1), 1) : x; };
  optional<Tensor> added = mask;
  if (mask && mask->scalar_type() == at::kBool)
    added = at::zeros(mask->sizes(), q.options()).masked_fill_(mask->logical_not(), -INFINITY);
  return std::get<0>(at::_scaled_dot_product_flash_attention_for_cpu(q, wide(k), wide(v), p, causal, added, scale));
}
TORCH_LIBRARY_IMPL(_, CUDA, m) { m.fallback(torch::CppFunction::makeFromBoxedFunction<&fallback>()); }
TORCH_LIBRARY_IMPL(aten, CUDA, m) {
  m.impl("empty.memory_format", empty); m.impl("empty_strided", empty_strided); m.impl("copy_", copy_);
  m.impl("resize_", resize_); m.impl("set_.source_Storage_storage_offset", set_strided);
  m.impl("set_.source_Storage", set_whole); m.impl("set_.source_Tensor", set_tensor);
  m.impl("record_stream", record_stream); m.impl("scaled_dot_product_attention", attention);
}
TORCH_LIBRARY_IMPL(aten, AutogradCUDA, m) { m.impl("scaled_dot_product_attention", attention); }

}  // namespace sim

namespace at {
struct CUDAHooks final : CUDAHooksInterface {
  explicit CUDAHooks(CUDAHooksArgs) {}
  void init() const override {}
  bool isBuilt() const override { return true; }
  bool isAvailable() const override { return sim::devices() > 0; }
  bool hasCUDA() const override { return sim::devices() > 0; }
  bool hasCUDART() const override { return true; }
  bool hasPrimaryContext(DeviceIndex i) const override { return sim::contexts.count(i); }
  DeviceIndex deviceCount() const override { return sim::devices(); }
  int getNumGPUs() const override { return sim::devices(); }
  DeviceIndex current_device() const override { return sim::current; }
  DeviceIndex getCurrentDevice() const override { return sim::current; }
  void setCurrentDevice(DeviceIndex i) const override { sim::Guard().setDevice(Device(kCUDA, i)); }
  DeviceIndex exchangeDevice(DeviceIndex i) const override { return sim::Guard().exchangeDevice(Device(kCUDA, i)).index(); }
  DeviceIndex maybeExchangeDevice(DeviceIndex i) const override { return exchangeDevice(i); }
  bool isPinnedPtr(const void* p) const override { return sim::pinned.count(p); }
  Allocator* getPinnedMemoryAllocator() const override { return &sim::pinned_pool; }
  Allocator* getCUDADeviceAllocator() const override { return &sim::pool; }
  const Generator& getDefaultGenerator(DeviceIndex i) const override { return sim::default_generator(i); }
  Generator getNewGenerator(DeviceIndex i) const override { return sim::generator(i); }
  void deviceSynchronize(DeviceIndex i) const override { sim::touch(i); sim::count("syncs"); }
  std::string showConfig() const override { return "simulated CUDA"; }
};
REGISTER_CUDA_HOOKS(CUDAHooks)
}  // namespace at

PYBIND11_MODULE(TORCH_EXTENSION_NAME, m) {
  c10::SetAllocator(sim::CUDA, &sim::pool, 100);
  m.def("numbers", [] { sim::devices(); return sim::numbers; });
  m.def("forget", [] {
    simcuda_forget(); sim::asked = false; sim::numbers.clear(); sim::generators.clear(); sim::contexts.clear(); sim::counts.clear();
  });
  m.def("set_device", [](int i) { if (i != sim::current) sim::touch(i); sim::Guard().setDevice(Device(sim::CUDA, i)); });
  m.def("set_unchecked", [](std::map<string, string> x) { for (auto& [k, v] : x) sim::unchecked[k] = v[0]; });
  m.def("get_device", [] { return (int)sim::current; });
  m.def("exchange_device", [](int i) { int old = sim::current; sim::Guard().setDevice(Device(sim::CUDA, i)); return old; });
  m.def("synchronize", [] { sim::touch(sim::current); sim::count("syncs"); });
  m.def("generator", [](int i) { return sim::default_generator(i); });
  m.def("contexts", [] { return vector<int>(sim::contexts.begin(), sim::contexts.end()); });
  m.def("counts", [] { return sim::counts; });
  m.def("reset_counts", [] { std::lock_guard<std::mutex> lock(sim::mutex); sim::counts.clear(); });
  m.def("memory", [](int i) { sim::devices(); auto& x = sim::memory[i]; return std::map<string, int64_t>{{"now", x.now}, {"peak", x.peak}, {"total", x.total}, {"limit", x.limit}, {"ooms", x.ooms}}; });
  m.def("reset_peak", [](int i) { sim::memory[i].peak = sim::memory[i].now; });
  m.def("set_limit", [](int i, int64_t bytes) { sim::memory[i].limit = bytes; });
}
