#include "lib/parallel/group.hpp"

#include "lib/parallel/members.hpp"
#include "lib/parallel/peer_error.hpp"

namespace titan {
namespace {

void finish(const c10::intrusive_ptr<c10d::Work>& work) {
  // gloo; NCCL has enqueued on the current stream and gives none back.
  if (work) among_peers([&] { return work->wait(); });
}

// What a single rank does for a gather or a sum.
void copy_each(const std::vector<Transfer>& transfers) {
  for (const Transfer& transfer : transfers) {
    if (transfer.out.data_ptr() != transfer.in.data_ptr()) transfer.out.copy_(transfer.in);
  }
}

// Issues every transfer, as one launch where the backend can.
template <class Issue>
void issue_all(c10d::Backend& backend, const std::vector<Transfer>& transfers, Issue issue) {
  const bool together = backend.supportsCoalescing() && transfers.size() > 1;
  if (together) backend.startCoalescing();
  for (const Transfer& transfer : transfers) {
    const auto work = hand_over([&] { return issue(transfer); });
    if (!together) finish(work);
  }
  if (together) finish(hand_over([&] { return backend.endCoalescing(); }));
}

}  // namespace

int64_t Group::rank() const { return members_ ? members_->backend->getRank() : 0; }
int64_t Group::size() const { return members_ ? members_->backend->getSize() : 1; }
std::chrono::milliseconds Group::timeout() const {
  return members_->backend->getBackendOptions()->timeout;
}

void Group::all_gather(const at::Tensor& out, const at::Tensor& in) const {
  all_gather(std::vector<Transfer>{{out, in}});
}

void Group::reduce_scatter(const at::Tensor& out, const at::Tensor& in) const {
  reduce_scatter(std::vector<Transfer>{{out, in}});
}

void Group::all_gather(const std::vector<Transfer>& transfers) const {
  if (!members_) return copy_each(transfers);
  c10d::Backend& backend = *members_->backend;
  issue_all(backend, transfers, [&](const Transfer& transfer) {
    at::Tensor out = transfer.out, in = transfer.in;
    c10d::AllgatherOptions options;
    options.asyncOp = false;
    return backend._allgather_base(out, in, options);
  });
}

void Group::reduce_scatter(const std::vector<Transfer>& transfers) const {
  if (!members_) return copy_each(transfers);
  c10d::Backend& backend = *members_->backend;
  issue_all(backend, transfers, [&](const Transfer& transfer) {
    at::Tensor out = transfer.out, in = transfer.in;
    c10d::ReduceScatterOptions options;
    options.asyncOp = false;
    return backend._reduce_scatter_base(out, in, options);
  });
}

void Group::all_reduce_(const at::Tensor& tensor, Reduction reduction) const {
  if (!members_) return;
  std::vector<at::Tensor> tensors = {tensor};
  c10d::AllreduceOptions options;
  options.reduceOp = reduction == Reduction::kMax ? c10d::ReduceOp::MAX : c10d::ReduceOp::SUM;
  options.asyncOp = false;
  finish(hand_over([&] { return members_->backend->allreduce(tensors, options); }));
}

void Group::all_reduce_(const std::vector<at::Tensor>& tensors) const {
  if (!members_) return;
  std::vector<Transfer> in_place;
  for (const at::Tensor& tensor : tensors) in_place.push_back({tensor, tensor});
  issue_all(*members_->backend, in_place, [&](const Transfer& transfer) {
    std::vector<at::Tensor> one = {transfer.out};
    c10d::AllreduceOptions options;
    options.asyncOp = false;
    return members_->backend->allreduce(one, options);
  });
}

}  // namespace titan
