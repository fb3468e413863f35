// Why a job of many ranks ends. The rank at fault leaves its reason in the store; the others, which
// only see that it no longer answers, read it there. A rank that left none was killed or hangs: it
// is known by its silence.
#pragma once

#include <c10/util/intrusive_ptr.h>

#include <cstdint>
#include <string>

namespace c10d {
class Store;
}

namespace titan {

struct EndReason {
  int status = 1;  // of the process
  std::string text;
};

// All are for the way out: they throw nothing, and return within seconds though the store be gone.

// This rank ends by its own fault.
void leave_end_reason(const c10::intrusive_ptr<c10d::Store>& store, int64_t rank,
                      const EndReason& reason) noexcept;

// Keeps the store, which this process hosts, until the other ranks have asked for the reason, or
// for as long as they can be expected to.
void wait_for_questions(const c10::intrusive_ptr<c10d::Store>& store, int64_t size) noexcept;

// This rank ends since another one does not answer; `seen` is what it saw of that. Lets a second
// pass at least, in which a launcher ends this process: its summary then has the rank at fault
// alone.
EndReason ask_end_reason(const c10::intrusive_ptr<c10d::Store>& store, int64_t rank, int64_t size,
                         const std::string& seen) noexcept;

}  // namespace titan
