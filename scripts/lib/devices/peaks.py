"""Peak arithmetic rates of devices, for model FLOPs utilisation.

Dense TFLOP/s of the vendors' data sheets, without structured sparsity, with fp32 accumulation
where a sheet tells them apart. `fp32` is outside the tensor cores.
"""

# Part of the device's name (the longest that matches counts) -> precision -> TFLOP/s.
PEAK_TFLOPS: dict[str, dict[str, float]] = {
    "B200": {"fp32": 75, "tf32": 1125, "bf16": 2250, "fp16": 2250},
    "H200": {"fp32": 66.9, "tf32": 494.7, "bf16": 989.4, "fp16": 989.4},
    "H200 NVL": {"fp32": 60, "tf32": 417.5, "bf16": 835.5, "fp16": 835.5},
    "GH200": {"fp32": 66.9, "tf32": 494.7, "bf16": 989.4, "fp16": 989.4},
    "H100": {"fp32": 66.9, "tf32": 494.7, "bf16": 989.4, "fp16": 989.4},
    "H100 NVL": {"fp32": 60, "tf32": 417.5, "bf16": 835.5, "fp16": 835.5},
    "H100 PCIe": {"fp32": 51.2, "tf32": 378, "bf16": 756, "fp16": 756},
    "A100": {"fp32": 19.5, "tf32": 156, "bf16": 312, "fp16": 312},
    "A10": {"fp32": 31.2, "tf32": 62.5, "bf16": 125, "fp16": 125},
    "A10G": {"fp32": 31.5, "tf32": 35, "bf16": 70, "fp16": 70},
    "A40": {"fp32": 37.4, "tf32": 74.8, "bf16": 149.7, "fp16": 149.7},
    "A30": {"fp32": 10.3, "tf32": 82, "bf16": 165, "fp16": 165},
    "L4": {"fp32": 30.3, "tf32": 60, "bf16": 121, "fp16": 121},
    "L40": {"fp32": 90.5, "tf32": 90.5, "bf16": 181, "fp16": 181},
    "L40S": {"fp32": 91.6, "tf32": 183, "bf16": 362, "fp16": 362},
    "T4": {"fp32": 8.1, "fp16": 65},
    "V100": {"fp32": 15.7, "fp16": 125},
    "RTX 3090": {"fp32": 35.6, "tf32": 35.6, "bf16": 71, "fp16": 71},
    "RTX 4090": {"fp32": 82.6, "tf32": 82.6, "bf16": 165.2, "fp16": 165.2},
    "MI250X": {"fp32": 47.9, "bf16": 383, "fp16": 383},
    "MI300X": {"fp32": 163.4, "tf32": 653.7, "bf16": 1307.4, "fp16": 1307.4},
}


def peak_tflops(device_name: str, precision: str) -> float | None:
    """Peak TFLOP/s of a device at a run's precision; None for a device not in the table."""
    padded = f" {device_name.replace('-', ' ')} "
    names = [name for name in PEAK_TFLOPS if f" {name} " in padded]
    # These share the name with the whole or plain part, not the rate.
    if not names or any(f" {other} " in padded for other in ("Laptop", "D", "Ti", "MIG")):
        return None
    return PEAK_TFLOPS[max(names, key=len)].get(precision.removesuffix("_mixed"))
