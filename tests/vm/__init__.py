"""The tests in a virtual machine whose control groups are pure v2, pure v1 or both at once.

    python -m tests.vm --cgroup v2 -- tests/integration/test_limits.py -k memory

A machine has one arrangement of control groups from its boot on, so the other ones need another kernel.
QEMU interprets the guest (no KVM is needed): eight to twelve times slower than the host, so choose the tests.
"""
