"""The native engine: explicit-vector LLVM IR, compiled through llvmlite at first use and kept on disk.

``vectors`` are the operations, ``group`` the 64 elements of one step, ``codegen`` the functions around them,
``compiler`` turns those into cached machine code, ``engine`` calls it over threads. llvmlite is imported when the
first kernel is needed, never by ``import firstlight``.
"""
