#include "lib/parallel/slurm_lists.hpp"

#include <algorithm>
#include <charconv>

#include "lib/base/error.hpp"

namespace titan {
namespace {

bool is_digit(char c) { return '0' <= c && c <= '9'; }

bool is_host_character(char c) {
  return is_digit(c) || ('a' <= c && c <= 'z') || ('A' <= c && c <= 'Z') ||
         std::string_view("-_.").find(c) != std::string_view::npos;
}

bool is_number(std::string_view text) {
  return !text.empty() && std::ranges::all_of(text, is_digit);
}

[[noreturn]] void refuse_nodes(std::string_view list) {
  throw InputError(
      concat("environment: expected a node list of the form gpu[001-004,007],big1, "
             "got \"",
             list, "\"; set MASTER_ADDR to the host of rank 0"));
}

[[noreturn]] void refuse_tasks(std::string_view list, int64_t node) {
  throw InputError(concat("environment: expected tasks per node of the form 8(x2),4 for at least ",
                          node + 1, " nodes, got \"", list, "\"; start with srun"));
}

}  // namespace

std::string first_host(std::string_view node_list) {
  std::string host;
  std::string_view rest = node_list;
  while (!rest.empty() && rest.front() != ',') {
    if (rest.front() == '[') {
      const size_t close = rest.find(']');
      if (close == rest.npos) refuse_nodes(node_list);
      const std::string_view numbers = rest.substr(1, close - 1);
      const std::string_view first = numbers.substr(0, numbers.find_first_of("-,"));
      if (!is_number(first)) refuse_nodes(node_list);
      host += first;  // with its leading zeros
      rest.remove_prefix(close + 1);
    } else {
      const std::string_view name = rest.substr(0, rest.find_first_of("[,"));
      if (!std::ranges::all_of(name, is_host_character)) refuse_nodes(node_list);
      host += name;
      rest.remove_prefix(name.size());
    }
  }
  if (host.empty()) refuse_nodes(node_list);
  return host;
}

int64_t tasks_on_node(std::string_view tasks_per_node, int64_t node) {
  const auto number = [&](std::string_view text) {
    int64_t value = 0;
    const auto result = std::from_chars(text.data(), text.data() + text.size(), value);
    if (!is_number(text) || result.ec != std::errc() || value == 0) {
      refuse_tasks(tasks_per_node, node);
    }
    return value;
  };
  int64_t nodes_left = node;
  for (std::string_view rest = tasks_per_node;;) {
    const std::string_view entry = rest.substr(0, rest.find(','));
    const std::string_view tasks = entry.substr(0, entry.find('('));
    const std::string_view repeats = entry.substr(tasks.size());
    int64_t nodes = 1;
    if (!repeats.empty()) {
      if (!repeats.starts_with("(x") || !repeats.ends_with(")")) refuse_tasks(tasks_per_node, node);
      nodes = number(repeats.substr(2, repeats.size() - 3));
    }
    const int64_t found = number(tasks);
    if (nodes_left < nodes) return found;
    nodes_left -= nodes;
    if (entry.size() == rest.size()) refuse_tasks(tasks_per_node, node);
    rest.remove_prefix(entry.size() + 1);
  }
}

}  // namespace titan
