#include "lib/model/job.cpp"
