// SPDX-License-Identifier: MIT

package main

import (
	"bytes"
	"encoding/json"
	"errors"
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

// runAgain runs this program again, with more in its environment, and waits for its end. It ends when this process does, however that
// ends: the kernel goes by the thread that started it, which is therefore kept until then.
func runAgain(child *exec.Cmd, env []string, run func() error, args ...string) (err error) {
	if child.Path, err = os.Executable(); err != nil {
		return err
	}
	child.Args = append([]string{child.Path}, args...)
	child.Env = append(os.Environ(), env...)
	if child.SysProcAttr == nil {
		child.SysProcAttr = &syscall.SysProcAttr{}
	}
	child.SysProcAttr.Pdeathsig = syscall.SIGKILL
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	return run()
}

// childOutput reads the last of the JSON values that this program prints when it is run again, also if it was ended then.
func childOutput(env []string, attributes *syscall.SysProcAttr, into any, args ...string) (*os.ProcessState, error) {
	child := &exec.Cmd{SysProcAttr: attributes}
	var output []byte
	err := runAgain(child, env, func() (err error) {
		output, err = child.Output()
		return err
	}, args...)
	if child.ProcessState == nil {
		return nil, err
	}
	values := json.NewDecoder(bytes.NewReader(output))
	told := values.Decode(into)
	for told == nil && values.More() && values.Decode(into) == nil {
	}
	if err == nil {
		err = told
	}
	return child.ProcessState, err
}

// ---- release

type released struct {
	Before, Spike, Collected, Scavenged, Released float64 // resident bytes
	CallSeconds, AgainSeconds, QuietSeconds       float64
	Watched                                       [][2]float64 // seconds, resident bytes
}

// runRelease: what a process keeps of its memory when a load spike is over. Each way in a process of its own: with madvise(MADV_DONTNEED),
// Go's default, and with MADV_FREE (GODEBUG=madvdontneed=0), whose pages stay resident until the system wants them. First the
// scavenger is watched, which gives back in the background; then all is asked for at once (debug.FreeOSMemory).
func runRelease(r *result) error {
	if r.args["child"] == 1 {
		return json.NewEncoder(os.Stdout).Encode(spike(r.args["spike"], time.Duration(r.args["milliseconds"])*time.Millisecond))
	}
	r.figure(float64(r.args["spike"]), "spike_bytes")
	for _, mode := range []struct{ name, setting string }{{"dontneed", "madvdontneed=1"}, {"free", "madvdontneed=0"}} {
		var got released
		_, err := childOutput([]string{"GODEBUG=" + mode.setting}, nil, &got, "release", "child=1",
			fmt.Sprintf("spike=%d", r.args["spike"]), fmt.Sprintf("milliseconds=%d", r.args["milliseconds"]))
		if err != nil {
			return fmt.Errorf("%s: %w", mode.setting, err)
		}
		r.figure(got.Released-got.Before, "%s_resident_bytes", mode.name)
		r.figure(got.CallSeconds*1e3, "%s_call_ms", mode.name)
		r.figure(got.AgainSeconds*1e3, "%s_again_ms", mode.name)
		for _, point := range got.Watched {
			r.point(mode.name, point[0], point[1])
		}
		if mode.name == "dontneed" {
			r.figure(got.Collected-got.Before, "keep_resident_bytes")
			r.figure(got.Spike-got.Before, "collected_spike_bytes")
			r.figure(got.Scavenged-got.Before, "collected_after_bytes")
			r.figure(got.QuietSeconds*1e3, "collected_ms")
		}
	}
	return nil
}

var spiked [][]byte

func makeSpike(bytes uint64) {
	const block = 64 << 10
	for made := uint64(0); made < bytes; made += block {
		b := make([]byte, block)
		touch(b)
		spiked = append(spiked, b)
	}
}

func spike(bytes uint64, watch time.Duration) (got released) {
	resident := func() float64 {
		all, _ := rtstats.ResidentBytes()
		return float64(all)
	}
	got.Before = resident()
	makeSpike(bytes)
	got.Spike = resident()
	spiked = nil
	runtime.GC()
	got.Collected = resident()
	runtime.GC() // the scavenger goes by the goal before the last: the next requests would have brought this one
	got.Scavenged = got.Collected
	began := time.Now()
	for step := watch / 50; time.Since(began) < watch; time.Sleep(step) {
		now := resident()
		if now < got.Scavenged {
			got.QuietSeconds = time.Since(began).Seconds()
		}
		got.Scavenged = now
		got.Watched = append(got.Watched, [2]float64{time.Since(began).Seconds(), now})
	}
	began = time.Now()
	debug.FreeOSMemory()
	got.CallSeconds = time.Since(began).Seconds()
	got.Released = resident()
	began = time.Now()
	makeSpike(bytes)
	got.AgainSeconds = time.Since(began).Seconds()
	return got
}

// ---- container

const (
	containedPercent = 200      // GOGC: the garbage beside the live heap does not fit
	programBytes     = 16 << 20 // beside the heap
)

// containedEnv tells a process that it is the one in the group.
const containedEnv = "PROBES_CONTAINED"

// contained is what the process in the group has done until then; it says so again and again, so that it is known when it was killed.
type contained struct {
	Objects, LivedSeconds float64
	Collections           uint64
	Limit                 int64 // what the runtime goes by
}

// runContainer: a process in a cgroup with a memory limit (version 2, memory.max), whose heap wants more than that. Go does not
// read the limit: "plain" is a process as it is started, "auto" one whose GOMEMLIMIT somebody has set to 9/10 of it;
// WAY_limited says whether the runtime goes by one.
func runContainer(r *result) error {
	if os.Getenv(containedEnv) != "" {
		return liveContained(r, json.NewEncoder(os.Stdout))
	}
	limit := r.args["live"]/2*3 + programBytes
	r.figure(float64(limit), "limit_bytes")
	for _, way := range []struct{ name, limit string }{{"auto", fmt.Sprintf("%dB", limit/10*9)}, {"plain", "off"}} {
		group, err := makeGroup(limit)
		if err != nil {
			r.text("skipped", "no cgroup with a memory limit can be made here: %v", err)
			return nil
		}
		err = contain(r, way.name, way.limit, group)
		_ = os.Remove(group) // a group a child: its peak is that child's
		if err != nil {
			return err
		}
	}
	return nil
}

func contain(r *result, name, limit, group string) error {
	directory, err := os.Open(group)
	if err != nil {
		return err
	}
	defer directory.Close()
	var got contained
	state, err := childOutput([]string{containedEnv + "=1", fmt.Sprintf("GOGC=%d", containedPercent), "GOMEMLIMIT=" + limit},
		&syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(directory.Fd())}, &got, "container",
		fmt.Sprintf("live=%d", r.args["live"]), fmt.Sprintf("milliseconds=%d", r.args["milliseconds"]))
	if state == nil {
		r.text("skipped", "no process can be started in a cgroup: %v", err)
		return nil
	}
	status, _ := state.Sys().(syscall.WaitStatus)
	killed := status.Signaled() && status.Signal() == syscall.SIGKILL
	if err != nil && !killed {
		return fmt.Errorf("%s: the process in the group: %w", name, err)
	}
	r.figure(number(killed), "%s_killed", name)
	r.figure(got.LivedSeconds*1e3, "%s_lived_ms", name)
	if got.LivedSeconds > 0 { // it may have been killed before it said anything
		r.figure(got.Objects/got.LivedSeconds, "%s_objects_per_second", name)
	}
	if !killed {
		r.figure(float64(got.Collections), "%s_collections", name)
		r.figure(number(got.Limit < math.MaxInt64), "%s_limited", name)
	}
	if text, err := os.ReadFile(filepath.Join(group, "memory.peak")); err == nil { // older kernels don't tell
		var peak float64
		if _, err := fmt.Sscan(string(text), &peak); err == nil {
			r.figure(peak, "%s_peak_bytes", name)
		}
	}
	return nil
}

const groupName = "probes-%d" // of the process that made it

// removeStale: a process that was killed leaves its group, and nobody in it. One in use is not removed: it has processes.
func removeStale(root string) {
	groups, _ := filepath.Glob(filepath.Join(root, "probes-*"))
	for _, group := range groups {
		var pid int
		if _, err := fmt.Sscanf(filepath.Base(group), groupName, &pid); err != nil || pid <= 0 {
			continue
		}
		if errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
			_ = os.Remove(group)
		}
	}
}

// makeGroup makes a group below the root of the cgroup file system; but for what removeStale does, nothing else there is changed.
func makeGroup(limit uint64) (string, error) {
	root, err := cgroupMount()
	if err != nil {
		return "", err
	}
	controllers, err := os.ReadFile(filepath.Join(root, "cgroup.subtree_control"))
	if err != nil {
		return "", err
	}
	if !strings.Contains(string(controllers), "memory") {
		return "", fmt.Errorf("%s hands no memory controller on to its groups", root)
	}
	removeStale(root)
	group := filepath.Join(root, fmt.Sprintf(groupName, os.Getpid()))
	if err := os.Mkdir(group, 0o755); err != nil {
		return "", err
	}
	_ = os.WriteFile(filepath.Join(group, "memory.swap.max"), []byte("0"), 0o644) // a kernel without swap has no such file
	if err := os.WriteFile(filepath.Join(group, "memory.max"), fmt.Append(nil, limit), 0o644); err != nil {
		_ = os.Remove(group)
		return "", err
	}
	return group, nil
}

func cgroupMount() (string, error) {
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(mounts)) {
		if fields := strings.Fields(line); len(fields) > 2 && fields[2] == "cgroup2" {
			return fields[1], nil
		}
	}
	return "", errors.New("no cgroups of version 2 are mounted")
}

func liveContained(r *result, out *json.Encoder) error {
	const sayEvery = 5 * time.Millisecond
	live = grow(r.args["live"] / treeBytes)
	want := time.Duration(r.args["milliseconds"]) * time.Millisecond
	made, began, said := 0, time.Now(), time.Duration(0)
	for lived := time.Duration(0); lived < want; {
		makeGarbage(batch)
		made += batch
		lived = time.Since(began)
		if lived-said < sayEvery && lived < want {
			continue
		}
		said = lived
		got := contained{Objects: float64(made), LivedSeconds: lived.Seconds(), Limit: debug.SetMemoryLimit(-1)}
		if lived >= want {
			got.Collections = rtstats.Read().Cycles
		}
		if err := out.Encode(got); err != nil {
			return err
		}
	}
	runtime.KeepAlive(live)
	return nil
}
