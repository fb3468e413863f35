#include "lib/checkpoint/hugging_face.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <random>
#include <set>

#include "lib/checkpoint/checkpoint_reader.hpp"
#include "lib/checkpoint/json_fields.hpp"
#include "tests/unit/checkpoint/small_llama.hpp"

namespace titan {
namespace {

using namespace test;  // NOLINT: the helpers of these tests
using ::testing::HasSubstr;
namespace fs = std::filesystem;

std::string error_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const InputError& error) {
    return error.what();
  }
  return "none";
}

// to HF: view [heads, d/2, 2, columns], swap the middle axes, flatten.
TEST(HuggingFace, RowOrderIsTheSwapOfAxes) {
  for (int64_t d : {2, 4, 16, 128}) {
    const int64_t heads = 3;
    std::vector<int64_t> ours_of_theirs(static_cast<size_t>(heads * d));
    for (int64_t head = 0; head < heads; ++head) {
      for (int64_t i = 0; i < d / 2; ++i) {
        for (int64_t j = 0; j < 2; ++j) {
          int64_t ours = (head * (d / 2) + i) * 2 + j;
          int64_t theirs = (head * 2 + j) * (d / 2) + i;
          ours_of_theirs[static_cast<size_t>(theirs)] = ours;
        }
      }
    }
    for (int64_t theirs = 0; theirs < heads * d; ++theirs) {
      EXPECT_EQ(hugging_face_row(ours_of_theirs[static_cast<size_t>(theirs)], d), theirs);
    }
  }
}

// The permutation is right if rotating halves of the permuted rows is rotating pairs of the
// original: both give the same attention scores. Checked on one head with the formulas of both
// layouts.
TEST(HuggingFace, RowOrderTurnsPairsIntoHalves) {
  const int64_t d = 8;
  std::mt19937 random(1);
  std::normal_distribution<double> normal;
  std::vector<double> pairs(d), halves(d);
  for (int64_t row = 0; row < d; ++row) {
    pairs[row] = normal(random);
    halves[hugging_face_row(row, d)] = pairs[row];
  }
  for (int64_t i = 0; i < d / 2; ++i) {
    double angle = 0.3 * static_cast<double>(i + 1);
    double c = std::cos(angle), s = std::sin(angle);
    double first = pairs[2 * i] * c - pairs[2 * i + 1] * s;
    double second = pairs[2 * i] * s + pairs[2 * i + 1] * c;
    // Hugging Face: x * cos + rotate_half(x) * sin, rotate_half(x) = (-upper half, lower half).
    EXPECT_EQ(halves[i] * c - halves[i + d / 2] * s, first);
    EXPECT_EQ(halves[i + d / 2] * c + halves[i] * s, second);
  }
}

TEST(HuggingFace, ExportHasTheirNamesRowsAndFiles) {
  TemporaryDirectory temporary;
  TestModel model = make_llama(small_model(), 1);
  export_model(model, temporary.path());

  SafetensorsReader file(temporary.path() / "model-00001-of-00001.safetensors");
  EXPECT_EQ(file.header().metadata.at("format"), "pt");
  EXPECT_EQ(file.header().entries.size(), model.infos.size());
  auto floats = [&](const std::string& name) {
    const SafetensorsEntry* entry = file.find(name);
    EXPECT_NE(entry, nullptr) << name;
    std::vector<float> values((entry->end - entry->begin) / sizeof(float));
    file.read(entry->begin, std::as_writable_bytes(std::span(values)));
    return values;
  };
  auto ours = [&](const std::string& name) {
    const Bytes& bytes = model.values.at(name);
    std::vector<float> values(bytes.size() / sizeof(float));
    std::memcpy(values.data(), bytes.data(), bytes.size());
    return values;
  };
  EXPECT_EQ(floats("lm_head.weight"), ours("output.weight"));
  EXPECT_EQ(floats("model.embed_tokens.weight"), ours("tok_embeddings.weight"));
  EXPECT_EQ(floats("model.layers.1.self_attn.v_proj.weight"), ours("layers.1.attention.wv.weight"));
  EXPECT_EQ(floats("model.layers.1.mlp.gate_proj.weight"), ours("layers.1.feed_forward.w1.weight"));
  EXPECT_EQ(floats("model.layers.1.mlp.down_proj.weight"), ours("layers.1.feed_forward.w2.weight"));
  EXPECT_EQ(floats("model.layers.1.mlp.up_proj.weight"), ours("layers.1.feed_forward.w3.weight"));
  EXPECT_EQ(floats("model.layers.0.input_layernorm.weight"),
            ours("layers.0.attention_norm.weight"));
  EXPECT_EQ(floats("model.layers.0.post_attention_layernorm.weight"),
            ours("layers.0.ffn_norm.weight"));

  // wk: 2 heads of 8 rows of 32 columns.
  std::vector<float> theirs = floats("model.layers.0.self_attn.k_proj.weight");
  std::vector<float> wk = ours("layers.0.attention.wk.weight");
  for (int64_t head = 0; head < 2; ++head) {
    for (int64_t j = 0; j < 2; ++j) {
      for (int64_t i = 0; i < 4; ++i) {
        for (int64_t column = 0; column < 32; ++column) {
          ASSERT_EQ(theirs[static_cast<size_t>((head * 8 + j * 4 + i) * 32 + column)],
                    wk[static_cast<size_t>((head * 8 + 2 * i + j) * 32 + column)]);
        }
      }
    }
  }

  Json config = parse_json(file_text(temporary.path() / "config.json"), "config.json");
  EXPECT_EQ(config["hidden_size"], 32);
  EXPECT_EQ(config["rope_scaling"]["rope_type"], "llama3");
  EXPECT_EQ(config["rope_scaling"]["factor"], 8.0);
  EXPECT_EQ(config["torch_dtype"], "float32");
  EXPECT_EQ(config["eos_token_id"], 49);
  EXPECT_EQ(ModelDescription::from_hugging_face(config, "config.json").rope_scaling, RopeScaling{});
  EXPECT_TRUE(fs::exists(temporary.path() / "generation_config.json"));
}

TEST(HuggingFace, ExportAndImportComeBackInEveryDtypeAndSplit) {
  TestModel model = make_llama(small_model(), 2);
  for (Dtype dtype : {Dtype::kFloat32, Dtype::kBfloat16, Dtype::kFloat16}) {
    for (uint64_t shard : {uint64_t{5'000'000'000}, uint64_t{9000}, uint64_t{1}}) {
      TemporaryDirectory temporary;
      export_model(model, temporary.path() / "hf", {.dtype = dtype, .max_shard_bytes = shard});
      import_hugging_face(quick_files(), temporary.path() / "hf", temporary.path() / "step-0");
      CheckpointReader reader(temporary.path() / "step-0");
      EXPECT_TRUE(reader.manifest().model_only);
      auto description = ModelDescription::from_json(reader.manifest().model);
      description.flavor = "debugmodel";  // Hugging Face does not know it
      EXPECT_EQ(description, small_model());
      TestModel expected = model;
      for (auto& [name, bytes] : expected.values) {
        Bytes narrow(bytes.size() / sizeof(float) * byte_size(dtype));
        convert(Dtype::kFloat32, bytes, dtype, narrow);
        convert(dtype, narrow, Dtype::kFloat32, bytes);
      }
      expect_equal(reader.model(), expected);
    }
  }
}

TEST(HuggingFace, IndexNamesTheFileOfEachTensor) {
  TemporaryDirectory temporary;
  export_model(make_llama(small_model(), 3), temporary.path(), {.max_shard_bytes = 9000});
  Json index = parse_json(file_text(temporary.path() / "model.safetensors.index.json"), "index");
  uint64_t total = 0;
  std::set<std::string> files;
  for (const auto& [name, file] : index["weight_map"].items()) {
    SafetensorsReader reader(temporary.path() / file.get<std::string>());
    ASSERT_NE(reader.find(name), nullptr);
    total += reader.find(name)->end - reader.find(name)->begin;
    files.insert(file.get<std::string>());
  }
  EXPECT_GT(files.size(), 3u);
  EXPECT_EQ(index["metadata"]["total_size"], total);
}

TEST(HuggingFace, ReadsAnyBlock) {
  TemporaryDirectory temporary;
  TestModel model = make_llama(small_model(), 4);
  export_model(model, temporary.path());
  HuggingFaceReader reader(temporary.path(), small_model());
  expect_equal(reader, model);
  std::mt19937 random(3);
  auto draw = [&](int64_t limit) {
    return std::uniform_int_distribution<int64_t>(0, limit)(random);
  };
  const std::vector<std::string> names = {"layers.1.attention.wq.weight",
                                          "layers.0.attention.wk.weight",
                                          "layers.0.feed_forward.w2.weight", "norm.weight"};
  for (size_t repeat = 0; repeat < 200; ++repeat) {
    const std::string& name = names[repeat % names.size()];
    Box box;
    for (int64_t extent : model.infos.at(name).shape) {
      box.offset.push_back(draw(extent));
      box.shape.push_back(draw(extent - box.offset.back()));
    }
    Bytes bytes(static_cast<size_t>(volume(box.shape)) * 4);
    reader.read(name, box, bytes);
    ASSERT_TRUE(bytes == model.block(name, box));
  }
}

// Rewrites the exported single file with these changes.
void edit(const fs::path& directory,
          const std::function<void(std::vector<SafetensorsEntry>&)>& change) {
  fs::path path = directory / "model-00001-of-00001.safetensors";
  std::vector<SafetensorsEntry> entries = SafetensorsReader(path).header().entries;
  change(entries);
  fs::remove(path);
  fs::remove(directory / "model.safetensors.index.json");
  SafetensorsWriter writer(quick_files(), directory / "model.safetensors", entries, {});
  std::vector<std::byte> zeros;
  for (const SafetensorsEntry& entry : writer.entries()) {
    zeros.resize(static_cast<size_t>(volume(entry.shape)) * byte_size(entry.dtype));
    writer.append(zeros);
  }
  writer.finish();
}

TEST(HuggingFace, AllThatDoesNotFitIsReportedAtOnce) {
  TemporaryDirectory temporary;
  export_model(make_llama(small_model(), 5), temporary.path());
  edit(temporary.path(), [](std::vector<SafetensorsEntry>& entries) {
    std::erase_if(entries, [](const auto& entry) { return entry.name == "model.norm.weight"; });
    for (SafetensorsEntry& entry : entries) {
      if (entry.name == "lm_head.weight") entry.shape = {51, 32};
    }
    entries.push_back({"model.layers.0.self_attn.q_proj.bias", Dtype::kFloat32, {32}});
    entries.push_back({"model.layers.0.self_attn.rotary_emb.inv_freq", Dtype::kFloat32, {4}});
  });
  std::string message =
      error_of([&] { HuggingFaceReader reader(temporary.path(), small_model()); });
  EXPECT_THAT(message, HasSubstr("3 of its tensors differ"));
  EXPECT_THAT(message, HasSubstr("model.norm.weight: missing, expected F32 [32]"));
  EXPECT_THAT(message, HasSubstr("lm_head.weight: F32 [51, 32], expected F32 [50, 32]"));
  EXPECT_THAT(message, HasSubstr("q_proj.bias: unexpected"));
}

TEST(HuggingFace, TiedEmbeddingsServeAsOutputOnlyWhenTheConfigSaysSo) {
  TemporaryDirectory temporary;
  export_model(make_llama(small_model(), 6), temporary.path());
  edit(temporary.path(), [](std::vector<SafetensorsEntry>& entries) {
    std::erase_if(entries, [](const auto& entry) { return entry.name == "lm_head.weight"; });
  });
  EXPECT_THAT(error_of([&] { HuggingFaceReader reader(temporary.path(), small_model()); }),
              HasSubstr("lm_head.weight: missing"));
  Json config = small_model().to_hugging_face("float32");
  config["tie_word_embeddings"] = true;
  write_text(temporary.path() / "config.json", config.dump());
  HuggingFaceReader reader(temporary.path());
  EXPECT_EQ(reader.tensors().at("output.weight").shape, (Shape{50, 32}));
  Bytes output(50 * 32 * 4), embedding(50 * 32 * 4);
  reader.read("output.weight", whole({50, 32}), output);
  reader.read("tok_embeddings.weight", whole({50, 32}), embedding);
  EXPECT_TRUE(output == embedding);
}

TEST(HuggingFace, BadDirectoriesAreInputErrors) {
  TemporaryDirectory temporary;
  auto open = [&] { HuggingFaceReader reader(temporary.path(), small_model()); };
  EXPECT_THAT(error_of([&] { HuggingFaceReader("/nowhere", small_model()); }),
              HasSubstr("/nowhere"));
  EXPECT_THAT(error_of(open), HasSubstr("no Hugging Face model"));
  fs::path index = temporary.path() / "model.safetensors.index.json";
  write_text(index, "{");
  EXPECT_THAT(error_of(open), HasSubstr("not valid JSON"));
  write_text(index, R"({"weight_map":{"a":"../b.safetensors"}})");
  EXPECT_THAT(error_of(open), HasSubstr("no file name"));
  write_text(index, R"({"weight_map":{"a":"b.safetensors"}})");
  EXPECT_THAT(error_of(open), HasSubstr("cannot open"));
  EXPECT_THAT(error_of([&] { HuggingFaceReader reader(temporary.path()); }),
              HasSubstr("config.json"));
}

TEST(HuggingFace, ExportOfAnotherModelIsRefused) {
  TemporaryDirectory temporary;
  TestModel model = make_llama(small_model(), 1);
  model.infos.erase("norm.weight");
  EXPECT_THAT(error_of([&] { export_model(model, temporary.path()); }),
              HasSubstr("norm.weight: missing"));
  ModelDescription other = small_model();
  other.name = "llama4";
  EXPECT_THROW(other.to_hugging_face("float32"), InputError);
}

TEST(HuggingFace, TokenizerFilesAreCopied) {
  TemporaryDirectory temporary;
  fs::path tokenizer = temporary.path() / "tokenizer";
  fs::create_directory(tokenizer);
  TestModel model = make_llama(small_model(), 1);
  auto export_to = [&](const char* name) {
    export_model(model, temporary.path() / name, {.tokenizer_folder = tokenizer});
  };
  EXPECT_THAT(error_of([&] { export_to("a"); }), HasSubstr("no tokenizer files"));
  write_text(tokenizer / "tokenizer.json", "{\"x\":1}");
  export_to("b");
  EXPECT_EQ(file_text(temporary.path() / "b" / "tokenizer.json"), "{\"x\":1}");
}

TEST(ModelDescription, BothSpellingsOfRotaryParameters) {
  Json config = small_model().to_hugging_face("bfloat16");
  config["rope_parameters"] = config["rope_scaling"];
  config["rope_parameters"]["rope_theta"] = 1234.0;
  config.erase("rope_scaling");
  config.erase("rope_theta");
  ModelDescription model = ModelDescription::from_hugging_face(config, "config.json");
  EXPECT_EQ(model.rope_theta, 1234);
  EXPECT_EQ(model.rope_scaling, RopeScaling{});
  config["rope_parameters"] = {{"rope_type", "default"}, {"rope_theta", 10000.0}};
  EXPECT_EQ(ModelDescription::from_hugging_face(config, "config.json").rope_scaling, std::nullopt);
  config["rope_parameters"]["rope_type"] = "yarn";
  EXPECT_THROW(ModelDescription::from_hugging_face(config, "config.json"), InputError);
}

TEST(ModelDescription, ErrorsNameTheKey) {
  Json json = small_model().to_json();
  EXPECT_EQ(ModelDescription::from_json(json), small_model());
  json["n_heads"] = "four";
  EXPECT_THAT(error_of([&] { ModelDescription::from_json(json); }),
              HasSubstr("\"n_heads\" must be an integer"));
  json["n_heads"] = 3;
  EXPECT_THAT(error_of([&] { ModelDescription::from_json(json); }), HasSubstr("do not divide"));
  json.erase("n_heads");
  EXPECT_THAT(error_of([&] { ModelDescription::from_json(json); }),
              HasSubstr("\"n_heads\" is missing"));
  EXPECT_THROW(ModelDescription::from_json(Json()), InputError);
}

}  // namespace
}  // namespace titan
