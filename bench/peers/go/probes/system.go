// SPDX-License-Identifier: MIT

package main

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"peers/rtstats"
)

// childOutput runs this program again, with more in its environment, and reads the JSON that it prints.
func childOutput(env []string, attributes *syscall.SysProcAttr, into any, args ...string) (*os.ProcessState, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	child := exec.Command(program, args...)
	child.Env = append(os.Environ(), env...)
	child.SysProcAttr = attributes
	output, err := child.Output()
	if child.ProcessState == nil {
		return nil, err
	}
	if err == nil {
		err = json.Unmarshal(output, into)
	}
	return child.ProcessState, err
}

// ---- release

type released struct {
	Spike, Dropped, Collected, Freed, Later float64 // resident
	FreeSeconds                             float64
	Watched                                 [][2]float64 // seconds, resident
}

// runRelease: memory after a spike, with madvise(MADV_DONTNEED), Go's default, and with MADV_FREE (GODEBUG=madvdontneed=0), whose pages
// stay resident until the system wants them. Each in a process of its own; the scavenger is watched, then asked for all at once.
func runRelease(r *result) error {
	if r.args["child"] == 1 {
		return json.NewEncoder(os.Stdout).Encode(spike(r.args["spike"], time.Duration(r.args["milliseconds"])*time.Millisecond))
	}
	for _, mode := range []struct{ name, setting string }{{"dontneed", "madvdontneed=1"}, {"free", "madvdontneed=0"}} {
		var got released
		_, err := childOutput([]string{"GODEBUG=" + mode.setting}, nil, &got, "release", "child=1",
			fmt.Sprintf("spike=%d", r.args["spike"]), fmt.Sprintf("milliseconds=%d", r.args["milliseconds"]))
		if err != nil {
			return fmt.Errorf("%s: %w", mode.setting, err)
		}
		r.figure(got.Spike, "%s_spike_bytes", mode.name)
		r.figure(got.Dropped, "%s_dropped_bytes", mode.name)
		r.figure(got.Collected, "%s_collected_bytes", mode.name)
		r.figure(got.Later, "%s_scavenged_bytes", mode.name)
		r.figure(got.Freed, "%s_released_bytes", mode.name)
		r.figure(got.FreeSeconds*1e3, "%s_release_ms", mode.name)
		for _, point := range got.Watched {
			r.point(mode.name, point[0], point[1])
		}
	}
	return nil
}

var spiked [][]byte

func spike(bytes uint64, watch time.Duration) (got released) {
	resident := func() float64 {
		all, _ := rtstats.ResidentBytes()
		return float64(all)
	}
	const block = 64 << 10
	for made := uint64(0); made < bytes; made += block {
		b := make([]byte, block)
		for i := 0; i < len(b); i += page {
			b[i] = 1
		}
		spiked = append(spiked, b)
	}
	got.Spike = resident()
	spiked = nil
	got.Dropped = resident()
	runtime.GC()
	got.Collected = resident()
	began := time.Now()
	for step := watch / 20; time.Since(began) < watch; time.Sleep(step) {
		got.Watched = append(got.Watched, [2]float64{time.Since(began).Seconds(), resident()})
	}
	got.Later = resident()
	began = time.Now()
	debug.FreeOSMemory()
	got.FreeSeconds = time.Since(began).Seconds()
	got.Freed = resident()
	return got
}

// ---- container

const cgroupRoot = "/sys/fs/cgroup"

type contained struct {
	Limit     float64 // what the runtime has as its memory limit
	Most      float64 // resident
	Collected uint64
}

// runContainer: a child in a cgroup with memory.max. Go doesn't read that: its heap grows to twice what is live, and the system ends
// it; with GOMEMLIMIT at 9/10 of memory.max, as somebody has to set it, it is collected earlier and lives.
func runContainer(r *result) error {
	if os.Getenv("PROBES_CONTAINED") != "" {
		return json.NewEncoder(os.Stdout).Encode(liveContained(r.args["limit"]))
	}
	limit := r.args["limit"]
	group := filepath.Join(cgroupRoot, fmt.Sprintf("probes-%d", os.Getpid()))
	if err := makeGroup(group, limit); err != nil {
		r.text("skipped", "no cgroup can be made: %v", err)
		return nil
	}
	defer os.Remove(group)
	directory, err := os.Open(group)
	if err != nil {
		return err
	}
	defer directory.Close()
	for _, way := range []struct{ name, limit string }{{"without", "off"}, {"with", fmt.Sprintf("%dB", limit/10*9)}} {
		var got contained
		state, err := childOutput([]string{"PROBES_CONTAINED=1", "GOGC=100", "GOMEMLIMIT=" + way.limit},
			&syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(directory.Fd())}, &got, "container", fmt.Sprintf("limit=%d", limit))
		if state == nil {
			r.text("skipped", "no child can be started in a cgroup: %v", err)
			return nil
		}
		status, _ := state.Sys().(syscall.WaitStatus)
		killed := status.Signaled() && status.Signal() == syscall.SIGKILL
		if err != nil && !killed {
			return fmt.Errorf("the child %s a limit: %w", way.name, err)
		}
		r.figure(number(killed), "%s_limit_killed", way.name)
		r.text(way.name+"_limit", "GOMEMLIMIT=%s: %s", way.limit, map[bool]string{true: "ended by the system", false: "lived"}[killed])
		if !killed {
			r.figure(got.Most, "%s_limit_resident_bytes", way.name)
			r.figure(float64(got.Collected), "%s_limit_collections", way.name)
			r.figure(number(got.Limit < math.MaxInt64), "%s_limit_seen", way.name)
		}
	}
	r.figure(float64(limit), "memory_max_bytes")
	r.text("auto", "Go does not read memory.max; GOMEMLIMIT has to be set from it by whoever starts the program")
	return nil
}

func makeGroup(group string, limit uint64) error {
	if _, err := os.Stat(filepath.Join(cgroupRoot, "cgroup.controllers")); err != nil {
		return fmt.Errorf("cgroup v2 is not mounted: %w", err)
	}
	if err := os.Mkdir(group, 0o755); err != nil {
		return err
	}
	for _, file := range []struct{ name, value string }{{"memory.max", fmt.Sprint(limit)}, {"memory.swap.max", "0"}} {
		err := os.WriteFile(filepath.Join(group, file.name), []byte(file.value), 0o644)
		if err != nil && !(file.name == "memory.swap.max" && os.IsNotExist(err)) {
			os.Remove(group)
			return err
		}
	}
	return nil
}

// liveContained keeps six tenths of the limit live, and makes garbage: more than fits beside it, if nothing collects in time.
func liveContained(limit uint64) (got contained) {
	got.Limit = float64(debug.SetMemoryLimit(-1))
	live = grow(limit / 10 * 6 / treeBytes)
	for made := uint64(0); made < 2*limit; made += batch * treeBytes {
		makeGarbage(batch)
	}
	text, err := os.ReadFile("/proc/self/status")
	if err == nil {
		_, rest, _ := strings.Cut(string(text), "VmHWM:")
		var kib float64
		if _, err := fmt.Sscan(rest, &kib); err == nil {
			got.Most = kib * 1024
		}
	}
	got.Collected = rtstats.Read().Cycles
	runtime.KeepAlive(live)
	return got
}
