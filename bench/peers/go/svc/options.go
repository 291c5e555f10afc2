// SPDX-License-Identifier: MIT

// Options: the names, values and environment of `tare svc`, as far as Go has the thing.

package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"
)

type options struct {
	listen, admin, index, path, pool, layout, intern, server string
	fixes                                                    fixes
	gogc, gomemlimit                                         string
	workers                                                  uint
	headTimeout, idleTimeout, writeTimeout, drainTimeout     time.Duration
	json, version                                            bool

	flags      *flag.FlagSet
	gcPercent  int   // -1: off
	limitBytes int64 // math.MaxInt64: none
	environ    map[string]string
}

// fixes are the naive path's sites that are mended.
type fixes uint

const (
	fixCopy fixes = 1 << iota
	fixBase64
	fixTree
	fixText
	fixLog
	fixAll = 1<<iota - 1
)

var fixNames = []string{"copy", "base64", "tree", "text", "log"}

func (f *fixes) Set(text string) error {
	*f = 0
	switch text {
	case "none":
		return nil
	case "all":
		*f = fixAll
		return nil
	}
	for name := range strings.SplitSeq(text, ",") {
		i := slices.Index(fixNames, name)
		if i < 0 {
			return fmt.Errorf("'%s' is no site: give none, all, or some of %s with commas", name, strings.Join(fixNames, ","))
		}
		*f |= 1 << i
	}
	return nil
}

func (f *fixes) String() string {
	switch *f {
	case 0:
		return "none"
	case fixAll:
		return "all"
	}
	var names []string
	for i, name := range fixNames {
		if *f&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return strings.Join(names, ",")
}

// choice is a text that is one of a few.
type choice struct {
	value   *string
	choices []string
}

func (c choice) Set(text string) error {
	if !slices.Contains(c.choices, text) {
		return fmt.Errorf("give one of %s", strings.Join(c.choices, ", "))
	}
	*c.value = text
	return nil
}

func (c choice) String() string {
	if c.value == nil { // flag asks a zero value for its text
		return ""
	}
	return *c.value
}

func newOptions() *options {
	o := &options{
		path:    "opt",
		pool:    "on",
		layout:  "offheap",
		intern:  "on",
		server:  "nethttp",
		environ: map[string]string{},
		flags:   flag.NewFlagSet("svc", flag.ContinueOnError),
	}
	f := o.flags
	env := func(name, variable string) string {
		o.environ[name] = variable
		return name
	}
	f.StringVar(&o.listen, env("listen", "TARE_LISTEN"), "127.0.0.1:8080", "`address` that answers lookups; port 0 takes a free one")
	f.StringVar(&o.admin, env("admin", "TARE_ADMIN"), "127.0.0.1:8081", "`address` that answers /metrics and /debug, a loopback one; 'off' for none")
	f.StringVar(&o.index, env("index", "TARE_INDEX"), "", "snapshot `file` to serve, made by 'tare gen'")
	f.Var(choice{&o.path, []string{"naive", "opt"}}, env("path", "TARE_PATH"), "how answers are made: naive or opt")
	f.Var(&o.fixes, env("naive-fix", "TARE_NAIVE_FIX"), "sites of the naive path to mend: none, all, or some of "+strings.Join(fixNames, ","))
	f.Var(choice{&o.pool, []string{"on", "off"}}, env("pool", "TARE_POOL"), "recycle answer buffers: on or off")
	f.Var(choice{&o.layout, []string{"map", "flat", "offheap"}}, env("layout", "TARE_LAYOUT"), "how records stand in memory: map, flat or offheap")
	f.Var(choice{&o.intern, []string{"on", "off"}}, env("intern", "TARE_INTERN"), "with layout map: records of a category share its text: on or off")
	f.Var(choice{&o.server, []string{"nethttp", "raw"}}, env("server", "TARE_GO_SERVER"), "who speaks HTTP: nethttp, or a loop over the connection: raw")
	f.StringVar(&o.gogc, env("gogc", "GOGC"), "100", "`percent` that the heap grows past what is live, or 'off'")
	f.StringVar(&o.gomemlimit, env("gomemlimit", "GOMEMLIMIT"), "off", "`memory` to stay below: 512MiB, 2GiB, or 'off'")
	f.UintVar(&o.workers, env("workers", "TARE_WORKERS"), 0, "GOMAXPROCS; 0 is what Go chooses")
	f.DurationVar(&o.headTimeout, env("head-timeout", "TARE_HEAD_TIMEOUT"), 10*time.Second, "for a head to arrive; 0 is no limit")
	f.DurationVar(&o.idleTimeout, env("idle-timeout", "TARE_IDLE_TIMEOUT"), time.Minute, "until a connection without requests is closed; 0 is never")
	f.DurationVar(&o.writeTimeout, env("write-timeout", "TARE_WRITE_TIMEOUT"), 30*time.Second, "until a connection that takes no answers is closed; 0 is never")
	f.DurationVar(&o.drainTimeout, env("drain-timeout", "TARE_DRAIN_TIMEOUT"), 30*time.Second, "for connections to finish after SIGTERM or SIGINT")
	f.BoolVar(&o.json, "json", false, "report on standard output as JSON")
	f.BoolVar(&o.version, "version", false, "print which Go built this, and how")
	return o
}

// parse reads the environment, then the arguments. flag.ErrHelp: help or the version was asked for, and is printed.
func (o *options) parse(args []string) error {
	f := o.flags
	f.SetOutput(io.Discard) // one line is printed, by main
	var err error
	f.VisitAll(func(each *flag.Flag) {
		variable := o.environ[each.Name]
		if text := os.Getenv(variable); text != "" && err == nil {
			if bad := f.Set(each.Name, text); bad != nil {
				err = fmt.Errorf("%s in the environment: '%s': %w", variable, text, bad)
			}
		}
	})
	if err != nil {
		return err
	}
	if err := f.Parse(args); errors.Is(err, flag.ErrHelp) {
		f.SetOutput(os.Stdout)
		fmt.Println("usage: svc [OPTION]...\n\nServes a snapshot's records over HTTP, as 'tare svc' does: GET /lookup?key=N&fmt=json|bin.")
		f.PrintDefaults()
		return err
	} else if err != nil {
		return err
	}
	if o.version {
		printVersion()
		return flag.ErrHelp
	}
	if f.NArg() > 0 {
		return fmt.Errorf("unexpected argument '%s'; --help tells usage", f.Arg(0))
	}
	return o.check()
}

// printVersion is one line: the version, and what bears on how fast the program is.
func printVersion() {
	fmt.Print(runtime.Version())
	for _, name := range []string{"GOARCH", "GOAMD64", "GOARM64", "GOEXPERIMENT", "-pgo", "-gcflags", "-race"} {
		if value := buildSettings[name]; value != "" {
			fmt.Printf(" %s=%s", strings.TrimPrefix(name, "-"), value)
		}
	}
	fmt.Println()
}

// check is for what no single value can say, and what the runtime is to be told.
func (o *options) check() error {
	var err error
	if o.index == "" {
		return errors.New("no records to serve; give --index FILE (TARE_INDEX counts)")
	}
	if o.fixes != 0 && o.path != "naive" {
		return errors.New("--naive-fix (TARE_NAIVE_FIX counts) mends the naive path; add --path=naive")
	}
	if o.gcPercent, err = parsePercent(o.gogc); err != nil {
		return err
	}
	if o.limitBytes, err = parseLimit(o.gomemlimit); err != nil {
		return err
	}
	if o.workers > 1024 {
		return fmt.Errorf("--workers: %d is too many; give at most 1024", o.workers)
	}
	if _, err := net.ResolveTCPAddr("tcp", o.listen); err != nil {
		return fmt.Errorf("--listen: %w", err)
	}
	if o.admin == "off" {
		return nil
	}
	admin, err := net.ResolveTCPAddr("tcp", o.admin)
	if err != nil {
		return fmt.Errorf("--admin: %w", err)
	}
	if !admin.IP.IsLoopback() {
		return fmt.Errorf("--admin: %s can be reached by others, and profiles are not for them; give a loopback address", o.admin)
	}
	return nil
}

func parsePercent(text string) (int, error) {
	if text == "off" {
		return -1, nil
	}
	percent, err := strconv.ParseUint(text, 10, 31)
	if err != nil || percent < 1 || percent > 1_000_000 {
		return 0, fmt.Errorf("--gogc (GOGC counts): '%s' is not a percentage; give 1 to 1000000, or off", text)
	}
	return int(percent), nil
}

func parseLimit(text string) (int64, error) {
	if text == "off" {
		return math.MaxInt64, nil
	}
	if text == "auto" {
		return 0, errors.New("--gomemlimit (GOMEMLIMIT counts): Go does not read the cgroup's limit; give a size, such as 512MiB")
	}
	number, shift := text, 0
	for i, unit := range []string{"KiB", "MiB", "GiB", "TiB", "B"} {
		if rest, found := strings.CutSuffix(text, unit); found {
			number, shift = rest, []int{10, 20, 30, 40, 0}[i]
			break
		}
	}
	amount, err := strconv.ParseUint(number, 10, 63)
	if err != nil || amount == 0 || amount > math.MaxInt64>>shift {
		return 0, fmt.Errorf("--gomemlimit (GOMEMLIMIT counts): '%s': write 512MiB, 2GiB (B, KiB, MiB, GiB, TiB), or off", text)
	}
	return int64(amount) << shift, nil
}

// apply tells the runtime.
func (o *options) apply() {
	if o.workers > 0 {
		runtime.GOMAXPROCS(int(o.workers))
	}
	debug.SetGCPercent(o.gcPercent)
	debug.SetMemoryLimit(o.limitBytes)
}

// knobs is every option's value, for reports.
func (o *options) knobs() map[string]any {
	knobs := map[string]any{}
	o.flags.VisitAll(func(each *flag.Flag) {
		switch getter, _ := each.Value.(flag.Getter); {
		case each.Name == "json" || each.Name == "version":
		case getter == nil:
			knobs[each.Name] = each.Value.String()
		default:
			value := getter.Get()
			if d, isTime := value.(time.Duration); isTime {
				value = d.Seconds()
			}
			knobs[each.Name] = value
		}
	})
	knobs["heap"] = "go"
	return knobs
}
