// titan-convert: checkpoints to and from Hugging Face's layout. Exit codes: 0 done, 1 failure, 2
// bad input.
#include <CLI/CLI.hpp>
#include <exception>
#include <filesystem>
#include <string>

#include "lib/base/error.hpp"
#include "lib/base/log.hpp"
#include "lib/checkpoint/checkpoint_reader.hpp"
#include "lib/checkpoint/file_system.hpp"
#include "lib/checkpoint/hugging_face.hpp"
#include "lib/checkpoint/pending_directory.hpp"

namespace {

namespace fs = std::filesystem;
using titan::concat;
using titan::InputError;

struct ExportArguments {
  fs::path checkpoint;
  fs::path out;
  std::string dtype = "float32";
  fs::path tokenizer;
};

struct ImportArguments {
  fs::path hugging_face;
  fs::path out;
};

// "out/" and "out" are the same directory; its parent must be there to hold the interim one.
fs::path new_directory(const fs::path& argument) {
  fs::path path = fs::absolute(argument).lexically_normal();
  if (!path.has_filename()) path = path.parent_path();
  if (fs::exists(path) && !(fs::is_directory(path) && fs::is_empty(path))) {
    throw InputError(concat(path.string(), " exists already; give a directory that does not"));
  }
  return path;
}

void run_export(const ExportArguments& arguments) {
  titan::Dtype dtype = titan::dtype_from_option(arguments.dtype);
  fs::path out = new_directory(arguments.out);
  titan::CheckpointReader checkpoint(arguments.checkpoint);
  auto model = titan::ModelDescription::from_json(checkpoint.manifest().model);
  titan::FileSystem& files = titan::FileSystem::posix();
  titan::PendingDirectory directory(files, out);
  titan::export_hugging_face(files, checkpoint.model(), model, directory.path(),
                             {.dtype = dtype, .tokenizer_folder = arguments.tokenizer});
  directory.publish();
  files.remove_all(directory.replaced());
  titan::log::info(concat("exported step ", checkpoint.manifest().step, " to ", out.string(),
                          " in ", arguments.dtype));
}

void run_import(const ImportArguments& arguments) {
  fs::path out = new_directory(arguments.out);
  titan::import_hugging_face(titan::FileSystem::posix(), arguments.hugging_face, out);
  titan::log::info(concat("imported ", arguments.hugging_face.string(), " to ", out.string(),
                          "; train from it with --checkpoint.initial_load_path ", out.string()));
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app(
      "Converts checkpoints of titan-train to and from Hugging Face's layout (Llama models).");
  app.require_subcommand(1);

  ExportArguments exporting;
  CLI::App* to = app.add_subcommand("export", "checkpoint -> directory that transformers loads");
  to->add_option("checkpoint", exporting.checkpoint,
                 "step directory, for example checkpoint/step-1000")
      ->required();
  to->add_option("out", exporting.out, "directory to create")->required();
  to->add_option("--dtype", exporting.dtype, "float32, bfloat16 or float16")->capture_default_str();
  to->add_option("--tokenizer", exporting.tokenizer, "directory whose tokenizer files are copied");

  ImportArguments importing;
  CLI::App* from =
      app.add_subcommand("import", "Hugging Face directory -> checkpoint with the weights only");
  from->add_option("hugging_face", importing.hugging_face,
                   "directory with config.json and safetensors")
      ->required();
  from->add_option("out", importing.out, "step directory to create, for example seed/step-0")
      ->required();

  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  try {
    if (*to) run_export(exporting);
    if (*from) run_import(importing);
    return 0;
  } catch (const InputError& error) {
    titan::log::error(error.what());
    return 2;
  } catch (const std::exception& error) {
    titan::log::error(error.what());
    return 1;
  }
}
