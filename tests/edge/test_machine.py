"""Facts about the machine, from a folder that stands for /proc and /sys."""

import json

import pytest
from statistics_model import HOP, LABELS, LENGTH, RATE

from asc_tf.edge import benchmark, cli, machine
from asc_tf.edge.listening import microphones


@pytest.fixture
def root(tmp_path):
    def write(path, text):
        file = tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    write("proc/device-tree/model", "Raspberry Pi 4 Model B Rev 1.4\0")
    write("proc/self/status", "Name:\tx\nVmHWM:\t  1000 kB\nVmRSS:\t  500 kB\n")
    write("sys/class/thermal/thermal_zone0/type", "cpu-thermal\n")
    write("sys/class/thermal/thermal_zone0/temp", "48312\n")
    write("sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq", "600000\n")
    write("sys/devices/system/cpu/cpu1/cpufreq/scaling_cur_freq", "1500000\n")
    write("sys/devices/platform/soc/soc:firmware/get_throttled", "50005\n")
    return write, tmp_path


def test_a_raspberry_pi_is_read(root):
    _, folder = root
    assert machine.read_model(folder) == "Raspberry Pi 4 Model B Rev 1.4"
    assert machine.read_temperature(folder) == pytest.approx(48.312)
    assert machine.read_frequency(folder) == 1500
    assert machine.read_throttling(folder) == [
        "under-voltage now",
        "throttled now",
        "under-voltage since the start",
        "throttled since the start",
    ]
    assert machine.read_memory("VmHWM", folder) == pytest.approx(1.024)
    assert machine.read_memory("VmRSS", folder) == pytest.approx(0.512)


def test_energy_counters_are_summed_also_when_they_wrap(root):
    write, folder = root
    for number in (0, 1):
        write(f"sys/class/powercap/intel-rapl:{number}/energy_uj", "9000000")
        write(f"sys/class/powercap/intel-rapl:{number}/max_energy_range_uj", "10000000")
    meter = machine.EnergyMeter(folder)
    write("sys/class/powercap/intel-rapl:0/energy_uj", "9500000")
    write("sys/class/powercap/intel-rapl:1/energy_uj", "1000000")
    assert meter.read_joules(1.0) == pytest.approx(0.5 + 2.0)


def test_a_counter_that_wraps_again_and_again_is_read_often_or_not_known(root):
    write, folder = root
    name = "sys/class/powercap/intel-rapl:0"
    write(f"{name}/energy_uj", "9000000")
    write(f"{name}/max_energy_range_uj", "10000000")
    now = [0.0]
    meter = machine.EnergyMeter(folder, lambda: now[0])
    for value in ("4000000", "8000000", "2000000", "1000000"):
        now[0] += 50
        write(f"{name}/energy_uj", value)
        meter.sample()
    assert meter.read_joules(200.0) == pytest.approx(5 + 4 + 4 + 9)
    now[0] += 61
    assert meter.read_joules(261.0) is None


def test_a_long_measurement_keeps_a_sample_of_its_times():
    times = benchmark.Times(limit=100)
    for number in range(10_000):
        times.add(number / 10_000)
    assert (times.count, len(times.drawn)) == (10_000, 100)
    assert times.total == pytest.approx(4999.5)
    assert 0.4 < sum(times.drawn) / 100 < 0.6


def test_without_counters_the_power_is_averaged(root):
    write, folder = root
    write("sys/class/hwmon/hwmon0/power1_input", "2000000")
    meter = machine.EnergyMeter(folder)
    write("sys/class/hwmon/hwmon0/power1_input", "4000000")
    assert meter.read_joules(10.0) == pytest.approx(30.0)


def test_a_machine_that_tells_nothing_gives_none(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert machine.read_temperature(tmp_path) is None
    assert machine.read_frequency(tmp_path) is None
    assert machine.read_throttling(tmp_path) is None
    assert machine.EnergyMeter(tmp_path).read_joules(1.0) is None
    assert machine.read_memory(root=tmp_path) is None


def test_the_firmware_is_asked_where_the_kernel_does_not_tell(tmp_path, monkeypatch):
    program = tmp_path / "vcgencmd"
    program.write_text("#!/bin/sh\necho throttled=0x0\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert machine.read_throttling(tmp_path) == []
    program.write_text("#!/bin/sh\necho throttled=0x80008\n")
    assert machine.read_throttling(tmp_path) == [
        "soft temperature limit now",
        "soft temperature limit since the start",
    ]


def test_bench_measures_latency_start_and_memory(model_file, capsys):
    flags = [f"--model={model_file}", "--seconds=0.05", "--json"]
    assert cli.main(["bench", *flags]) == 0
    result = json.loads(capsys.readouterr().out)
    assert 0 < result["p50_ms"] <= result["p95_ms"] <= result["p99_ms"]
    factor = 1000 * LENGTH / RATE / result["mean_ms"]
    assert result["real_time_factor"] == pytest.approx(factor)
    assert result["listening_factor"] == pytest.approx(factor * HOP / LENGTH)
    assert result["threads"] == 1 and result["windows"] >= 1
    assert 0 < result["import_seconds"] < result["first_answer_seconds"]
    assert 0.05 < result["first_answer_cpu_seconds"] < 5
    assert 10 < result["peak_memory_mb"] < 500


def test_bench_without_json_leaves_out_what_is_not_known(
    model_file, capsys, monkeypatch
):
    from asc_tf.edge import bench

    monkeypatch.setattr(bench, "measure_start", lambda path, threads: {"x": 1.25})
    assert cli.main(["bench", f"--model={model_file}", "--seconds=0.01"]) == 0
    lines = dict(
        line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines()
    )
    assert lines["precision"] == "float32" and lines["x"] == "1.25"
    assert "None" not in lines.values()


def test_info_shows_the_model_and_the_machine(model_file, capsys):
    assert cli.main(["info", "--json", str(model_file)]) == 0
    result = json.loads(capsys.readouterr().out)
    model = result["model"]
    assert model["labels"] == list(LABELS)
    assert (model["sample_rate"], model["segment_seconds"]) == (RATE, LENGTH / RATE)
    assert model["config"] == {"audio": {"sample_rate": RATE}}
    assert result["machine"]["cpus"] >= 1
    assert cli.main(["info", str(model_file)]) == 0
    assert "airport, métro, park" in capsys.readouterr().out
    assert cli.main(["info"]) == 0
    assert capsys.readouterr().out.startswith("machine:\n")


def test_info_refuses_what_is_no_model(tmp_path, model_file, capsys):
    (tmp_path / "x.tflite").write_bytes(model_file.read_bytes()[:-10])
    assert cli.main(["info", str(tmp_path / "x.tflite")]) == 1
    assert "no metadata: cut short" in capsys.readouterr().err
    assert cli.main(["info", str(tmp_path / "absent")]) == 2
    assert cli.main(["info", str(model_file), str(model_file)]) == 2


def test_devices_lists_microphones_as_listen_names_them(capsys, monkeypatch, tmp_path):
    from asc_tf.edge import devices

    found = [microphones.Microphone(1, 0, "Device", "USB PnP Sound Device")]
    monkeypatch.setattr(devices, "list_microphones", lambda: found)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert cli.main(["devices"]) == 0
    output = capsys.readouterr()
    assert output.out == " 1  Device            USB PnP Sound Device\n"
    assert "apt install alsa-utils" in output.err and "ffmpeg" in output.err
    assert cli.main(["devices", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "card": 1,
        "device": 0,
        "identifier": "Device",
        "description": "USB PnP Sound Device",
        "alsa": "plughw:CARD=Device,DEV=0",
    }
    monkeypatch.setattr(devices, "list_microphones", list)
    assert cli.main(["devices"]) == 0
    output = capsys.readouterr()
    assert output.out == "" and "no microphone is plugged in" in output.err


def test_the_memory_of_a_process_is_none_when_the_process_has_ended(tmp_path):
    (tmp_path / "proc" / "42").mkdir(parents=True)
    (tmp_path / "proc" / "42" / "status").write_text("Name:\tx\nVmRSS:\t  2000 kB\n")
    assert machine.read_memory("VmRSS", tmp_path, process=42) == 2.048
    # The status of a zombie has no such line.
    (tmp_path / "proc" / "42" / "status").write_text("Name:\tx\nState:\tZ\n")
    assert machine.read_memory("VmRSS", tmp_path, process=42) is None
    assert machine.read_memory("VmRSS", tmp_path, process=43) is None
