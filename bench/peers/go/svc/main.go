// SPDX-License-Identifier: MIT

// svc is `tare svc` in Go: the same snapshot, endpoints, knobs and bodies, as a Go programmer writes them.
//
//	svc --index FILE [--path=naive|opt] [--layout=map|flat|offheap] [--server=nethttp|raw] …   (--help lists all)
//
// Exit code 0: drained after SIGTERM or SIGINT; 1: it failed; 2: what it was asked for can't be.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"runtime"
	"syscall"
)

const (
	exitFailed = 1
	exitUsage  = 2
)

func main() {
	o := newOptions()
	switch err := o.parse(os.Args[1:]); {
	case errors.Is(err, flag.ErrHelp):
	case err != nil:
		fmt.Fprintf(os.Stderr, "svc: %v\n", err)
		os.Exit(exitUsage)
	default:
		if err := run(o); err != nil {
			fmt.Fprintf(os.Stderr, "svc: %v\n", err)
			os.Exit(exitFailed)
		}
	}
}

func listen(name, address string) (net.Listener, error) {
	listener, err := net.Listen("tcp", address)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("%s is taken; stop what listens there, or choose another address with --%s (port 0 takes a free one)",
			address, name)
	}
	if err != nil {
		return nil, fmt.Errorf("--%s: %w", name, err)
	}
	return listener, nil
}

func run(o *options) error {
	// A second signal ends the process: stop gives it back its default.
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	o.apply()
	x, err := load(o.index, o.layout, o.intern == "on")
	if err != nil {
		return err
	}
	s := newService(o, x)
	public, err := listen("listen", o.listen)
	if err != nil {
		return err
	}
	var lookups server = s.newNetHTTP()
	if o.server == "raw" {
		lookups = newRaw(s)
	}
	admin := &http.Server{Handler: s.adminMux(), ReadHeaderTimeout: o.headTimeout}
	var adminListener net.Listener
	if o.admin != "off" {
		if adminListener, err = listen("admin", o.admin); err != nil {
			return err
		}
	}
	runtime.GC() // the heap goal follows from the records, not from a heap that was half of them

	failed := make(chan error, 2)
	serve := func(name string, server server, listener net.Listener) {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			failed <- fmt.Errorf("--%s: %w", name, err)
		}
	}
	go serve("listen", lookups, public)
	if adminListener != nil {
		go serve("admin", admin, adminListener)
	}
	s.announce(public, adminListener)
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	stop()
	return s.drain(lookups, admin)
}

// announce says where it listens; the line that scripts look for comes first.
func (s *service) announce(public, admin net.Listener) {
	o, x := s.options, s.index
	url, adminURL := "http://"+public.Addr().String(), any(nil)
	if admin != nil {
		adminURL = "http://" + admin.Addr().String()
	}
	workers := runtime.GOMAXPROCS(0)
	if o.json {
		_ = json.NewEncoder(os.Stdout).Encode(map[string]any{
			"url": url, "admin_url": adminURL, "records": x.count, "index_bytes": x.bytes, "load_seconds": x.loadTime.Seconds(),
			"layout": x.layout, "heap": "go", "path": o.path, "server": o.server, "naive_fix": o.fixes.String(),
			"workers": workers, "pid": os.Getpid(), "version": runtime.Version(),
		})
		return
	}
	fmt.Printf("listening on %s\n", url)
	fmt.Printf("%s, server %s, path %s, layout %s, GOMAXPROCS %d, pid %d\n", runtime.Version(), o.server, o.path, x.layout, workers,
		os.Getpid())
	fmt.Printf("%d records, %.1f MiB, loaded in %.1f ms\n", x.count, float64(x.bytes)/(1<<20), x.loadTime.Seconds()*1e3)
	if admin != nil {
		fmt.Printf("admin on %s (/metrics, /debug/allocs, /debug/recent, /debug/pprof/, /healthz)\n", adminURL)
	}
}

func (s *service) drain(lookups, admin server) error {
	s.draining.Store(true)
	ctx, cancel := context.WithTimeout(context.Background(), s.options.drainTimeout)
	defer cancel()
	err := errors.Join(lookups.Shutdown(ctx), admin.Shutdown(ctx))
	fmt.Fprintf(os.Stderr, "drained: %d requests answered\n", s.counters.read().requests)
	if err != nil {
		return errors.New("some connections were cut when --drain-timeout ended")
	}
	return nil
}
