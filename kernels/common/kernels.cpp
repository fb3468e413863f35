// Keeps the kernel library a library where a build leaves every kernel out.
