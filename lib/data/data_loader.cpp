#include "lib/data/data_loader.hpp"

#include <chrono>
#include <nlohmann/json.hpp>

#include "lib/base/error.hpp"
#include "lib/base/log.hpp"
#include "lib/data/fingerprint.hpp"
#include "lib/data/global_order.hpp"
#include "lib/data/per_rank_stream.hpp"
#include "lib/data/prefetch.hpp"
#include "lib/data/source.hpp"
#include "lib/data/token_cache.hpp"
#include "lib/data/token_files.hpp"

namespace titan {
namespace {

using nlohmann::json;

constexpr int64_t kStateVersion = 1;
constexpr const char* kStateHint =
    "; the data can start anew with checkpoint.exclude_from_loading = [\"dataloader\"]";

const char* name_of(DataOrder order) { return order == DataOrder::global ? "global" : "per_rank"; }

void check(const DataConfig& config, int64_t global_batch) {
  auto require = [&](bool condition, const char* key, int64_t value, const char* expected) {
    if (!condition) {
      throw InputError(concat(config.section, ".", key, " = ", value, ": expected ", expected));
    }
  };
  require(config.seq_len > 0, "seq_len", config.seq_len, "at least 1");
  require(config.local_batch_size > 0, "local_batch_size", config.local_batch_size, "at least 1");
  TITAN_CHECK(config.rank >= 0 && config.rank < config.world_size, "data rank ", config.rank,
              " of ", config.world_size);
  TITAN_CHECK(config.vocab_size > 0 && config.prefetch_batches >= 0, "vocab_size ",
              config.vocab_size, ", prefetch_batches ", config.prefetch_batches);
  if (global_batch <= 0 || global_batch % (config.local_batch_size * config.world_size) != 0) {
    throw InputError(concat(config.section, ".global_batch_size = ", global_batch,
                            ": expected a multiple of local_batch_size * data-parallel ranks = ",
                            config.local_batch_size, " * ", config.world_size));
  }
}

void check_tokenizer(const DataConfig& config, const data::Source& source,
                     const Tokenizer* tokenizer) {
  if (tokenizer == nullptr) {
    throw InputError(concat(source.files.front().path.string(),
                            " is text, and there is no tokenizer for it: model.hf_assets_path = \"",
                            config.tokenizer_path.string(),
                            "\" does not exist; expected a folder with ",
                            "tokenizer.json or tokenizer.model"));
  }
  if (tokenizer->vocab_size() > config.vocab_size) {
    throw InputError(concat("the tokenizer has ", tokenizer->vocab_size(),
                            " ids, the model's vocabulary only ", config.vocab_size,
                            ": use the model's own tokenizer (model.hf_assets_path), or raise "
                            "model.vocab_size"));
  }
}

// Text becomes a token file, too: then both are read the same way.
std::unique_ptr<BatchSource> open_global(const DataConfig& config, const data::Source& source,
                                         const Tokenizer* tokenizer, int64_t global_batch) {
  std::vector<data::TokenRun> runs;
  std::string origin = source.describe();
  if (data::is_text(source.format)) {
    data::CachedTokens cached =
        data::open_token_cache(source, *tokenizer, data::token_cache_folder(config.token_cache));
    runs.push_back(cached.run);
    origin +=
        concat(" (tokens in ", cached.run.path.string(), "); ", cached.documents, " documents");
    if (cached.malformed > 0) {
      origin += concat(" and ", cached.malformed, " malformed ones skipped");
    }
  } else {
    for (const data::SourceFile& file : source.files) {
      for (data::TokenRun& run : data::token_runs(file, source.format, config.token_dtype)) {
        runs.push_back(std::move(run));
      }
    }
  }
  return std::make_unique<data::GlobalOrder>(data::TokenStream(std::move(runs), config.vocab_size),
                                             config, global_batch, std::move(origin));
}

std::unique_ptr<BatchSource> open_per_rank(const DataConfig& config, const data::Source& source,
                                           std::shared_ptr<const Tokenizer> tokenizer) {
  if (!data::is_text(source.format)) {
    throw InputError(concat("training.data_order = \"per_rank\" is for text; ",
                            source.files.front().path.string(),
                            " is a token file, which starts at once in \"global\" order as well"));
  }
  if (!config.endless) {
    throw InputError(concat(config.section,
                            ": one pass over the data needs training.data_order = "
                            "\"global\": in \"per_rank\" order the ranks would end after different "
                            "numbers of steps"));
  }
  return std::make_unique<data::PerRankStream>(source, std::move(tokenizer), config);
}

// What ranks and resumed runs compare: enough to say what differs, whatever the number of files.
json fingerprint_of(const data::Source& source, const Tokenizer* tokenizer) {
  data::Fingerprint names;
  for (const data::SourceFile& file : source.files) {
    names.add(file.path.filename().string()).add(file.size);
  }
  return {{"format", data::name_of(source.format)},
          {"files", source.files.size()},
          {"bytes", source.bytes()},
          {"names_and_sizes", names.hex()},
          {"content_samples", data::hash_of_samples(source)},
          {"tokenizer", data::is_text(source.format) ? tokenizer->fingerprint() : ""}};
}

void warn_of_changes(const std::string& name, const json& saved, const json& now) {
  std::string changes;
  for (const auto& [key, value] : now.items()) {
    json before = saved.is_object() ? saved.value(key, json()) : json();
    if (before != value && !before.is_null()) {  // null: not known then
      changes += concat(changes.empty() ? "" : ", ", key, " (", before.dump(), " then, ",
                        value.dump(), " now)");
    }
  }
  if (!changes.empty()) {
    log::warning(concat("The data of ", name,
                        " is not what the checkpoint was trained on; changed: ", changes,
                        ". Going on from the same place in it"));
  }
}

}  // namespace

struct DataLoader::Parts {
  std::string dataset;
  DataOrder order;
  json fingerprint;  // of source and tokenizer
  int64_t micro_batches_per_step;
  int64_t prefetch_batches;
  std::unique_ptr<BatchSource> source;

  std::unique_ptr<Prefetcher> prefetcher;  // destroyed before the source, which its thread uses
  DataPosition position;                   // after the last whole step handed out
  int64_t micro_batch = 0;
  double seconds_waited = 0;

  void start(const DataPosition& from) {
    prefetcher.reset();
    source->seek(from);
    position = from;
    micro_batch = 0;
    if (prefetch_batches > 0) prefetcher = std::make_unique<Prefetcher>(*source, prefetch_batches);
  }

  bool next(Batch& batch, DataPosition& after) {
    if (prefetcher) return prefetcher->next(batch, after);
    bool found = source->next(batch);
    after = source->position();
    return found;
  }

  void end_step(const DataPosition& after) {
    if (after.epoch > position.epoch) {
      log::info(concat("Dataset ", dataset, " is read again: epoch ", after.epoch, " begins"));
    }
    position = after;
  }
};

DataLoader::DataLoader(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}
DataLoader::~DataLoader() = default;

std::unique_ptr<DataLoader> DataLoader::open(const DataConfig& config,
                                             std::shared_ptr<const Tokenizer> tokenizer,
                                             std::optional<int64_t> global_batch) {
  const int64_t smallest_step = config.local_batch_size * config.world_size;
  const int64_t step = global_batch.value_or(smallest_step);
  check(config, step);
  data::Source source =
      data::find_source(config.section, config.dataset, config.dataset_path, config.shipped_corpus);
  if (data::is_text(source.format)) check_tokenizer(config, source, tokenizer.get());

  auto parts = std::make_unique<Parts>();
  parts->dataset = source.dataset;
  parts->order = config.data_order;
  parts->fingerprint = fingerprint_of(source, tokenizer.get());
  parts->micro_batches_per_step = step / smallest_step;
  parts->prefetch_batches = config.prefetch_batches;
  parts->source = config.data_order == DataOrder::global
                      ? open_global(config, source, tokenizer.get(), step)
                      : open_per_rank(config, source, tokenizer);
  parts->start({});
  return std::unique_ptr<DataLoader>(new DataLoader(std::move(parts)));
}

bool DataLoader::next(Batch& batch) {
  auto begin = std::chrono::steady_clock::now();
  DataPosition after;
  bool found = parts_->next(batch, after);
  std::chrono::duration<double> waited = std::chrono::steady_clock::now() - begin;
  parts_->seconds_waited += waited.count();
  if (found && ++parts_->micro_batch == parts_->micro_batches_per_step) {
    parts_->micro_batch = 0;
    parts_->end_step(after);
  }
  return found;
}

double DataLoader::seconds_waited() const { return parts_->seconds_waited; }

json DataLoader::state() const {
  json state = parts_->source->state_at(parts_->position);
  state["version"] = kStateVersion;
  state["order"] = name_of(parts_->order);
  state["source"] = parts_->fingerprint;
  return state;
}

void DataLoader::restore(const json& state) try {
  auto version = state.at("version").get<int64_t>();
  if (version != kStateVersion) {
    throw InputError(concat("the checkpoint's loader state has version ", version, ", expected ",
                            kStateVersion, kStateHint));
  }
  auto order = state.at("order").get<std::string>();
  if (order != name_of(parts_->order)) {
    throw InputError(concat("the checkpoint was written with training.data_order = \"", order,
                            "\", this run has \"", name_of(parts_->order), "\"", kStateHint));
  }
  DataPosition position = parts_->source->position_of(state);
  for (int64_t number :
       {position.epoch, position.file, position.line, position.document, position.token}) {
    if (number < 0) {
      throw InputError(concat("the checkpoint's loader state holds ", number, kStateHint));
    }
  }
  warn_of_changes(parts_->dataset, state.at("source"), parts_->fingerprint);
  parts_->start(position);
} catch (const json::exception& error) {
  throw InputError(
      concat("the checkpoint's loader state cannot be read: ", error.what(), kStateHint));
}

const json& DataLoader::fingerprint() const { return parts_->fingerprint; }

std::string DataLoader::describe() const { return parts_->source->describe(); }

}  // namespace titan
