#include "lib/parallel/agree.hpp"

#include <algorithm>
#include <exception>

#include "lib/base/error.hpp"

namespace titan {
namespace {

// A message's first letter says what the rest is.
constexpr char kResult = 'r', kError = 'e', kInputError = 'i';

std::string message_of(const std::function<std::string()>& part) {
  try {
    return kResult + part();
  } catch (const InputError& error) {
    return concat(kInputError, error.what());
  } catch (const std::exception& error) {
    return concat(kError, error.what());
  }
}

void throw_first_error(const std::vector<std::string>& messages, bool name_rank) {
  for (size_t rank = 0; rank < messages.size(); ++rank) {
    const char kind = messages[rank].at(0);
    if (kind == kResult) continue;
    const std::string text =
        concat(name_rank ? concat("rank ", rank, ": ") : "", messages[rank].substr(1));
    if (kind == kInputError) throw InputError(text);
    throw Error(text);
  }
}

}  // namespace

std::vector<std::string> on_all_ranks(HostGroup& group, const std::function<std::string()>& part) {
  if (group.size() == 1) return {part()};
  std::vector<std::string> messages = group.exchange(message_of(part));
  const bool alike = std::ranges::count(messages, messages.front()) == group.size();
  throw_first_error(messages, /*name_rank=*/!alike);
  for (std::string& message : messages) message.erase(0, 1);
  return messages;
}

std::string on_first_rank(HostGroup& group, const std::function<std::string()>& work) {
  if (group.size() == 1) return work();
  const std::string message = group.broadcast(group.rank() == 0 ? message_of(work) : "");
  throw_first_error({message}, /*name_rank=*/false);
  return message.substr(1);
}

}  // namespace titan
