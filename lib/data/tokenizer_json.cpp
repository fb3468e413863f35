// Reads Hugging Face's tokenizer.json, for byte-level BPE. Every component is known by name or
// refused.
#include <array>
#include <string>
#include <utility>

#include "lib/base/error.hpp"
#include "lib/data/tokenizer_huggingface.hpp"
#include "lib/data/tokenizer_json_entry.hpp"
#include "lib/data/tokenizer_spec.hpp"

namespace titan {
namespace {

[[noreturn]] void refuse_type(const JsonEntry& component, std::string_view known) {
  component.fail(concat("the type \"", component.at("type").string(),
                        "\" is not supported; this engine is byte-level BPE and knows ", known));
}

bool has_type(const JsonEntry& component, std::string_view type) {
  return component.at("type").string() == type;
}

void read_normalizer(const JsonEntry& normalizer, TokenizerSpec& spec) {
  if (has_type(normalizer, "Sequence")) {
    normalizer.allow_keys({"type", "normalizers"});
    for (const JsonEntry& part : normalizer.at("normalizers").items()) read_normalizer(part, spec);
  } else if (has_type(normalizer, "NFC")) {
    normalizer.allow_keys({"type"});
    spec.nfc = true;
  } else {
    refuse_type(normalizer, "NFC and Sequence");
  }
}

SplitBehavior read_behavior(const JsonEntry& entry) {
  constexpr std::array<std::pair<std::string_view, SplitBehavior>, 5> kBehaviors = {{
      {"Removed", SplitBehavior::kRemoved},
      {"Isolated", SplitBehavior::kIsolated},
      {"MergedWithPrevious", SplitBehavior::kMergedWithPrevious},
      {"MergedWithNext", SplitBehavior::kMergedWithNext},
      {"Contiguous", SplitBehavior::kContiguous},
  }};
  std::string name = entry.string();
  for (auto [known, behavior] : kBehaviors) {
    if (name == known) return behavior;
  }
  entry.fail(concat("the behavior \"", name, "\" is not known"));
}

SplitStage read_split(const JsonEntry& split) {
  split.allow_keys({"type", "pattern", "behavior", "invert"});
  SplitStage stage;
  JsonEntry pattern = split.at("pattern");
  pattern.allow_keys({"Regex", "String"});
  try {
    if (auto regex = pattern.find("Regex")) {
      stage.pattern = Regex::from_oniguruma(regex->string());
    } else {
      stage.pattern = Regex::from_literal(pattern.at("String").string());
    }
  } catch (const InputError& error) {
    pattern.fail(error.what());
  }
  stage.behavior = read_behavior(split.at("behavior"));
  stage.invert = split.at("invert").boolean();
  return stage;
}

SplitStage read_byte_level(const JsonEntry& byte_level) {
  byte_level.allow_keys({"type", "add_prefix_space", "trim_offsets", "use_regex"});
  SplitStage stage;
  stage.prefix_space = byte_level.flag("add_prefix_space", true);
  if (byte_level.flag("use_regex", true)) stage.pattern = byte_level_pattern();
  return stage;
}

SplitStage read_digits(const JsonEntry& digits) {
  digits.allow_keys({"type", "individual_digits"});
  SplitStage stage;
  stage.pattern = Regex::from_oniguruma(R"(\p{N})");
  stage.behavior = digits.flag("individual_digits", false) ? SplitBehavior::kIsolated
                                                           : SplitBehavior::kContiguous;
  return stage;
}

// Appends the stages; `byte_level` says that ByteLevel, which must come last, has been seen.
void read_pre_tokenizer(const JsonEntry& pre, std::vector<SplitStage>& stages, bool& byte_level) {
  if (has_type(pre, "Sequence")) {
    pre.allow_keys({"type", "pretokenizers"});
    for (const JsonEntry& part : pre.at("pretokenizers").items()) {
      read_pre_tokenizer(part, stages, byte_level);
    }
    return;
  }
  if (byte_level) pre.fail("nothing may follow ByteLevel");
  SplitStage stage;
  if (has_type(pre, "Split")) {
    stage = read_split(pre);
  } else if (has_type(pre, "Digits")) {
    stage = read_digits(pre);
  } else if (has_type(pre, "ByteLevel")) {
    stage = read_byte_level(pre);
    byte_level = true;
  } else {
    refuse_type(pre, "Split, Digits, ByteLevel and Sequence");
  }
  if (stage.prefix_space || stage.pattern) stages.push_back(std::move(stage));
}

void append_template_ids(const JsonEntry& processor, const std::string& token,
                         std::vector<int32_t>& out) {
  JsonEntry known = processor.at("special_tokens").at(token);
  for (const JsonEntry& id : known.at("ids").items()) out.push_back(id.token_id());
}

// TemplateProcessing for one text: special tokens around "Sequence A".
void read_template(const JsonEntry& processor, TokenizerSpec& spec) {
  processor.allow_keys({"type", "single", "pair", "special_tokens"});
  if (!spec.template_prefix.empty() || !spec.template_suffix.empty()) {
    processor.fail("a second TemplateProcessing is not supported");
  }
  bool behind_text = false;
  for (const JsonEntry& part : processor.at("single").items()) {
    if (auto special = part.find("SpecialToken")) {
      append_template_ids(processor, special->at("id").string(),
                          behind_text ? spec.template_suffix : spec.template_prefix);
    } else if (part.at("Sequence").at("id").string() != "A" || behind_text) {
      part.fail("the template must hold Sequence A once");
    } else {
      behind_text = true;
    }
  }
  if (!behind_text) processor.fail("the template must hold Sequence A once");
}

void read_post_processor(const JsonEntry& processor, TokenizerSpec& spec) {
  if (has_type(processor, "Sequence")) {
    processor.allow_keys({"type", "processors"});
    for (const JsonEntry& part : processor.at("processors").items())
      read_post_processor(part, spec);
  } else if (has_type(processor, "TemplateProcessing")) {
    read_template(processor, spec);
  } else if (!has_type(processor,
                       "ByteLevel")) {  // ByteLevel moves offsets, which nobody asks for here
    refuse_type(processor, "TemplateProcessing, ByteLevel and Sequence");
  }
}

void read_model(const JsonEntry& model, TokenizerSpec& spec) {
  if (!has_type(model, "BPE")) refuse_type(model, "BPE");
  model.allow_keys({"type", "dropout", "unk_token", "continuing_subword_prefix",
                    "end_of_word_suffix", "fuse_unk", "byte_fallback", "ignore_merges", "vocab",
                    "merges"});
  for (std::string_view affix : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    auto entry = model.find(affix);
    if (entry && !entry->string().empty()) entry->fail("is not supported by byte-level BPE");
  }
  if (model.find("dropout")) model.at("dropout").fail("is not supported: ids would be random");
  if (model.flag("byte_fallback", false)) model.at("byte_fallback").fail("is not supported");
  spec.whole_pieces_first = model.flag("ignore_merges", false);
  read_vocab(model.at("vocab"), spec);
  read_merges(model.at("merges"), spec);
  size_t before = spec.warnings.size();
  if (model.find("unk_token")) spec.warn_of_dropped_bytes();
  if (spec.warnings.size() != before) {
    model.at("unk_token").fail("is not supported where bytes have no token of their own");
  }
}

void read_added_tokens(const JsonEntry& tokens, TokenizerSpec& spec) {
  int renumbered = 0;
  for (const JsonEntry& entry : tokens.items()) {
    entry.allow_keys({"id", "content", "single_word", "lstrip", "rstrip", "normalized", "special"});
    AddedToken token = read_added_token(entry);
    if (token.content.empty()) continue;
    if (spec.add_token(std::move(token)) != entry.at("id").token_id()) ++renumbered;
  }
  if (renumbered > 0) {
    spec.warnings.push_back(
        concat(tokens.place(), ": ", renumbered,
               " tokens get other ids than the file says: ids of tokens outside "
               "the vocabulary follow on from its size"));
  }
}

}  // namespace

TokenizerSpec parse_tokenizer_json(std::string_view json, const std::string& where) {
  simdjson::dom::parser parser;
  JsonEntry root = JsonEntry::parse(parser, json, where);
  root.allow_keys({"version", "truncation", "padding", "added_tokens", "normalizer",
                   "pre_tokenizer", "post_processor", "decoder", "model"});
  for (std::string_view cut : {"truncation", "padding"}) {
    if (auto entry = root.find(cut)) entry->fail("must be null: packing takes whole documents");
  }
  TokenizerSpec spec;
  read_model(root.at("model"), spec);
  if (auto normalizer = root.find("normalizer")) read_normalizer(*normalizer, spec);
  bool byte_level = false;
  JsonEntry pre_tokenizer = root.at("pre_tokenizer");
  read_pre_tokenizer(pre_tokenizer, spec.stages, byte_level);
  if (!byte_level) pre_tokenizer.fail("ByteLevel is missing: this engine is byte-level BPE");
  auto decoder = root.find("decoder");
  if (decoder && !has_type(*decoder, "ByteLevel")) refuse_type(*decoder, "ByteLevel");
  if (auto processor = root.find("post_processor")) read_post_processor(*processor, spec);
  if (auto tokens = root.find("added_tokens")) read_added_tokens(*tokens, spec);
  return spec;
}

}  // namespace titan
