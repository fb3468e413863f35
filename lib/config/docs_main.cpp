// titan_config_docs > docs/options.md
#include <iostream>

#include "lib/config/help.hpp"

int main() { std::cout << titan::config::options_page(); }
