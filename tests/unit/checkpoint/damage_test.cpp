// Checkpoints that were altered, cut or mixed up: a clear error, and the previous one in their
// place.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <functional>

#include "lib/checkpoint/hash.hpp"
#include "tests/unit/checkpoint/test_tensors.hpp"

namespace titan {
namespace {

using namespace test;  // NOLINT: the helpers of these tests
using ::testing::HasSubstr;
namespace fs = std::filesystem;

// Two good checkpoints: step-1 (seed 1) and step-2 (seed 2).
class Damage : public ::testing::Test {
 protected:
  void SetUp() override {
    Checkpointer checkpointer({.folder = folder_}, quick_files());
    ASSERT_TRUE(checkpointer.save(make_snapshot(1, 1)).ok());
    ASSERT_TRUE(checkpointer.save(make_snapshot(2, 2)).ok());
  }

  fs::path step(int64_t number) const { return step_path(folder_, number); }

  static fs::path shard(const fs::path& step, const std::string& part) {
    return step / part / "shard-00001-model-00001-of-00001.safetensors";
  }

  // Expects step-2 to be refused with this message, and loading to fall back to step-1.
  void expect_fallback(const std::string& message) {
    Checkpointer checkpointer({.folder = folder_, .load_only = true});
    try {
      checkpointer.load_step(2, [](const CheckpointReader& reader) {
        expect_equal(reader.model(), make_model(2));
        expect_equal(reader.optimizer(), make_optimizer(2));
      });
      FAIL() << "the damage was not noticed: " << message;
    } catch (const CorruptCheckpoint& error) {
      EXPECT_THAT(error.what(), HasSubstr(message));
      EXPECT_THAT(error.what(), HasSubstr(folder_.string()));
    }
    EXPECT_EQ(load_newest(folder_), 1u);
  }

  TemporaryDirectory temporary_;
  fs::path folder_ = temporary_.path() / "outputs" / "checkpoint";
};

TEST_F(Damage, NoneIsNotReported) { EXPECT_EQ(load_newest(folder_), 2u); }

TEST_F(Damage, EveryFlippedByteOfAShardIsNoticed) {
  fs::path path = shard(step(2), "model");
  const std::string good = file_text(path);
  Checkpointer checkpointer({.folder = folder_, .load_only = true});
  for (size_t i = 0; i < good.size(); i += i < 2000 ? 13 : 101) {
    std::string bad = good;
    bad[i] = static_cast<char>(bad[i] ^ 4);
    write_text(path, bad);
    auto read_all = [&](const CheckpointReader& reader) {
      for (const auto& [name, info] : reader.model().tensors()) {
        Bytes bytes(static_cast<size_t>(volume(info.shape)) * byte_size(info.dtype));
        reader.model().read(name, whole(info.shape), bytes);
      }
    };
    EXPECT_THROW(checkpointer.load_step(2, read_all), CorruptCheckpoint) << "byte " << i;
  }
  write_text(path, good);
  EXPECT_EQ(load_newest(folder_), 2u);
}

TEST_F(Damage, EveryFlippedByteOfTheManifestIsNoticed) {
  fs::path path = step(2) / kManifestName;
  const std::string good = file_text(path);
  Checkpointer checkpointer({.folder = folder_, .load_only = true});
  for (size_t i = 0; i < good.size(); i += i < 300 ? 1 : 17) {
    std::string bad = good;
    bad[i] = static_cast<char>(bad[i] ^ 1);
    write_text(path, bad);
    EXPECT_THROW(checkpointer.load_step(2, [](const CheckpointReader&) {}), InputError)
        << "byte " << i;
  }
}

TEST_F(Damage, FlippedByteInOptimizerState) {
  fs::path path = shard(step(2), "optim");
  std::string text = file_text(path);
  text[text.size() - 3] = static_cast<char>(text[text.size() - 3] ^ 1);
  write_text(path, text);
  expect_fallback("do not match their hash");
}

TEST_F(Damage, TruncatedShard) {
  fs::resize_file(shard(step(2), "model"), fs::file_size(shard(step(2), "model")) - 1);
  expect_fallback("the manifest says");
}

TEST_F(Damage, MissingShard) {
  fs::remove(shard(step(2), "optim"));
  expect_fallback("cannot be read");
}

TEST_F(Damage, ExtraShard) {
  fs::copy_file(shard(step(2), "model"),
                step(2) / "model" / "shard-00002-model-00001-of-00001.safetensors");
  expect_fallback("does not belong to the checkpoint");
}

TEST_F(Damage, ShardOfAnotherStep) {
  fs::copy_file(shard(step(1), "model"), shard(step(2), "model"),
                fs::copy_options::overwrite_existing);
  expect_fallback("do not match their hash");
}

TEST_F(Damage, ManifestOfAnotherStep) {
  fs::copy_file(step(1) / kManifestName, step(2) / kManifestName,
                fs::copy_options::overwrite_existing);
  expect_fallback("holds the manifest of step 1");
}

TEST_F(Damage, TruncatedManifest) {
  fs::resize_file(step(2) / kManifestName, 100);
  expect_fallback("not valid JSON");
}

TEST_F(Damage, MissingManifestMeansHalfWritten) {
  fs::remove(step(2) / kManifestName);
  expect_fallback("not a complete checkpoint");
}

TEST_F(Damage, EmptyStepDirectory) {
  fs::remove_all(step(2));
  fs::create_directory(step(2));
  expect_fallback("not a complete checkpoint");
}

TEST_F(Damage, ForeignDirectoriesAreNamedForWhatTheyAre) {
  fs::remove(step(2) / kManifestName);
  write_text(step(2) / ".metadata", "");
  expect_fallback("torch.distributed.checkpoint");
  fs::remove(step(2) / ".metadata");
  write_text(step(2) / "model.safetensors.index.json", "{}");
  expect_fallback("Hugging Face");
  EXPECT_THROW(CheckpointReader{folder_}, InputError);
}

// A manifest that was changed and given a fitting checksum again, as a faulty writer could make it.
class ForgedManifest : public Damage {
 protected:
  void forge(const std::function<void(Manifest&)>& change) {
    fs::path path = step(2) / kManifestName;
    Manifest manifest = parse_manifest(file_text(path), path);
    change(manifest);
    write_text(path, to_text(manifest));
  }
};

TEST_F(ForgedManifest, WrongOffset) {
  forge([](Manifest& manifest) { manifest.files[0].chunks[2].box.offset[0] = 1; });
  expect_fallback("do not fill its shape");
}

TEST_F(ForgedManifest, WrongShape) {
  forge([](Manifest& manifest) {
    manifest.model_tensors["layers.0.attention.wq.weight"].shape = {8, 16};
    for (ChunkRecord& chunk : manifest.files[0].chunks) {
      if (chunk.name == "layers.0.attention.wq.weight") chunk.box.shape = {8, 16};
    }
  });
  expect_fallback("the header of");
}

TEST_F(ForgedManifest, WrongDtype) {
  forge([](Manifest& manifest) { manifest.model_tensors["half.weight"].dtype = Dtype::kFloat16; });
  expect_fallback("the header of");
}

TEST_F(ForgedManifest, ChunkOfNoTensor) {
  forge([](Manifest& manifest) { manifest.model_tensors.erase("half.weight"); });
  expect_fallback("does not list as a tensor");
}

TEST_F(ForgedManifest, TensorWithoutChunk) {
  forge([](Manifest& manifest) { manifest.model_tensors["more"] = {Dtype::kFloat32, {2}}; });
  expect_fallback("do not fill its shape");
}

TEST_F(ForgedManifest, MissingHash) {
  forge([](Manifest& manifest) { manifest.files[0].chunks[0].hashes.clear(); });
  expect_fallback("wrong number of hashes");
}

TEST_F(ForgedManifest, SameFileTwice) {
  forge([](Manifest& manifest) { manifest.files.push_back(manifest.files[0]); });
  expect_fallback("do not fill its shape");
}

TEST_F(ForgedManifest, PathOutsideTheCheckpoint) {
  forge([](Manifest& manifest) { manifest.files[0].name = "../../step-1/model/x.safetensors"; });
  expect_fallback("is no file name");
}

TEST_F(Damage, NewerFormatIsNotSkippedSilently) {
  fs::path path = step(2) / kManifestName;
  std::string text = file_text(path);
  write_text(path, text.replace(text.find(": 1,"), 4, ": 2,"));
  Checkpointer checkpointer({.folder = folder_, .load_only = true});
  try {
    checkpointer.load_latest([](const CheckpointReader&) { FAIL(); });
    FAIL();
  } catch (const CorruptCheckpoint&) {
    FAIL() << "a newer format is not damage";
  } catch (const InputError& error) {
    EXPECT_THAT(error.what(), HasSubstr("format version 2"));
  }
}

TEST_F(Damage, NoValidCheckpointIsAnErrorAndNeverAFreshStart) {
  fs::remove(step(1) / kManifestName);
  fs::resize_file(shard(step(2), "model"), 5);
  Checkpointer checkpointer({.folder = folder_, .load_only = true});
  try {
    checkpointer.load_latest([](const CheckpointReader&) { FAIL(); });
    FAIL();
  } catch (const InputError& error) {
    EXPECT_THAT(error.what(), HasSubstr("no checkpoint in"));
    EXPECT_THAT(error.what(), HasSubstr("step-1: "));
    EXPECT_THAT(error.what(), HasSubstr("step-2: "));
  }
}

TEST(EmptyFolder, IsAFreshStart) {
  TemporaryDirectory folder;
  EXPECT_EQ(load_newest(folder.path()), std::nullopt);
  EXPECT_EQ(load_newest(folder.path() / "not there"), std::nullopt);
}

}  // namespace
}  // namespace titan
