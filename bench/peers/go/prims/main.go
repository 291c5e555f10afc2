// SPDX-License-Identifier: MIT

// prims measures what Go's own runtime costs: goroutines, channels, mutexes, wake-ups, and the small programs that
// runtimes are compared by. One JSON line a figure; the names and the methods are those of bench/rt.
//
//	prims [-samples N] [-ring N] [-whispers N] [-primes N] [-sleepers N] [-sleep DURATION] NAME...    ("all": every one)
//
// Figures in "ns" are medians of repetitions within the process. The collector runs as it does for any Go program.
package main

import (
	"flag"
	"fmt"
	"log"
	"os"
	"runtime"
	"sort"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"peers/figures"
)

const (
	repetitions   = 7
	programRuns   = 3
	skynetLeaves  = 1000000
	skynetAnswer  = 499999500000
	ringTasks     = 503
	bufferedSlots = 64
	wakeGap       = 50 * time.Microsecond
)

var (
	samples   = flag.Int("samples", 10000, "wake-ups that are timed")
	ringHops  = flag.Int("ring", 5000000, "hops of the thread ring's token")
	chain     = flag.Int("whispers", 100000, "goroutines in the chain of whispers")
	primes    = flag.Int("primes", 1000, "primes that the sieve finds")
	sleepers  = flag.Int("sleepers", 1000000, "goroutines that sleep at once")
	sleepTime = flag.Duration("sleep", 10*time.Second, "how long they sleep")
)

func expect(name string, got, want int) {
	if got != want {
		log.Fatalf("prims: %s gave %d where %d is right", name, got, want)
	}
}

// measure times work(n), which does perN*n operations.
func measure(name string, perN int, work func(n int)) {
	figures.Work(name, repetitions, 1, perN, work)
}

// ---- primitives ---------------------------------------------------------------------------------------------------

func yield(name string) {
	measure(name, 2, func(n int) {
		var done sync.WaitGroup
		done.Add(1)
		go func() {
			for i := 0; i < n; i++ {
				runtime.Gosched()
			}
			done.Done()
		}()
		for i := 0; i < n; i++ {
			runtime.Gosched()
		}
		done.Wait()
	})
}

func spawnJoin(name string) {
	var done sync.WaitGroup
	task := func() { done.Done() }
	measure(name, 1, func(n int) {
		for i := 0; i < n; i++ {
			done.Add(1)
			go task()
			done.Wait()
		}
	})
}

func chanUnbuffered(name string) {
	measure(name, 1, func(n int) {
		there, back := make(chan int), make(chan int)
		go func() {
			for i := 0; i < n; i++ {
				back <- <-there
			}
		}()
		for i := 0; i < n; i++ {
			there <- i
			<-back
		}
	})
}

func chanBuffered(name string) {
	c := make(chan int, bufferedSlots)
	measure(name, 1, func(n int) {
		for i := 0; i < n; i++ {
			c <- i
			<-c
		}
	})
}

var mutex sync.Mutex

func mutexPair(name string) {
	measure(name, 1, func(n int) {
		for i := 0; i < n; i++ {
			mutex.Lock()
			mutex.Unlock()
		}
	})
}

// The waker never blocks, so the other P has to take the goroutine over; by then it has been idle for most of wakeGap.
func wakeParked(name string) {
	base := time.Now()
	took := make([]float64, 0, *samples)
	c := make(chan time.Duration)
	done := make(chan bool)
	go func() {
		for sent := range c {
			took = append(took, float64(time.Since(base)-sent))
		}
		done <- true
	}()
	for i := 0; i < *samples; i++ {
		for start := time.Now(); time.Since(start) < wakeGap; {
		}
		c <- time.Since(base)
	}
	close(c)
	<-done
	sort.Float64s(took)
	figures.Print(name+"_p50", took[len(took)/2], len(took), "")
	figures.Print(name+"_p99", took[len(took)*99/100], len(took), "")
}

// ---- small programs -----------------------------------------------------------------------------------------------

func skynetNode(c chan int, first, size int) {
	if size == 1 {
		c <- first
		return
	}
	children := make(chan int)
	for i := 0; i < 10; i++ {
		go skynetNode(children, first+i*(size/10), size/10)
	}
	sum := 0
	for i := 0; i < 10; i++ {
		sum += <-children
	}
	c <- sum
}

func skynet(name string) {
	figures.Program(name, programRuns, skynetLeaves, fmt.Sprintf(", \"answer\": %d", skynetAnswer), func() {
		c := make(chan int)
		go skynetNode(c, 0, skynetLeaves)
		expect(name, <-c, skynetAnswer)
	})
}

func ring(hops int) int {
	links := make([]chan int, ringTasks)
	for i := range links {
		links[i] = make(chan int)
	}
	answer := make(chan int)
	for i := range links {
		i := i
		go func() {
			for token := range links[i] {
				if token == 0 {
					answer <- i + 1
					return
				}
				links[(i+1)%ringTasks] <- token - 1
			}
		}()
	}
	links[0] <- hops
	last := <-answer
	for _, link := range links {
		close(link)
	}
	return last
}

func threadRing(name string) {
	expect(name, ring(1000), 498)
	answer := *ringHops%ringTasks + 1
	figures.Program(name, 1, *ringHops, fmt.Sprintf(", \"answer\": %d", answer), func() {
		expect(name, ring(*ringHops), answer)
	})
}

func whispers(name string) {
	figures.Program(name, programRuns, *chain, fmt.Sprintf(", \"answer\": %d", *chain+1), func() {
		leftmost := make(chan int)
		left := leftmost
		for i := 0; i < *chain; i++ {
			right := make(chan int)
			go func(left, right chan int) { left <- 1 + <-right }(left, right)
			left = right
		}
		go func(c chan int) { c <- 1 }(left)
		expect(name, <-leftmost, *chain+1)
	})
}

// As in "Go concurrency patterns": the goroutines that are left over stay blocked, so it runs once in a process.
func sieve(name string) {
	last := 0
	start := time.Now()
	c := make(chan int)
	go func(c chan int) {
		for i := 2; ; i++ {
			c <- i
		}
	}(c)
	for i := 0; i < *primes; i++ {
		last = <-c
		next := make(chan int)
		go func(in, out chan int, prime int) {
			for {
				if i := <-in; i%prime != 0 {
					out <- i
				}
			}
		}(c, next, last)
		c = next
	}
	figures.Print(name, float64(time.Since(start))/float64(*primes), *primes, fmt.Sprintf(", \"answer\": %d", last))
}

// A figure in kB of /proc/self/status, in bytes.
func statusBytes(key string) int {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		log.Fatalf("prims: %v", err)
	}
	for _, line := range strings.Split(string(text), "\n") {
		if fields := strings.Fields(line); len(fields) > 1 && fields[0] == key+":" {
			kilobytes, _ := strconv.Atoi(fields[1])
			return kilobytes * 1024
		}
	}
	return 0
}

func sleepMany(name string) {
	var done sync.WaitGroup
	start := time.Now()
	for i := 0; i < *sleepers; i++ {
		done.Add(1)
		go func() {
			time.Sleep(*sleepTime)
			done.Done()
		}()
	}
	done.Wait()
	elapsed := time.Since(start)
	rss, tables := statusBytes("VmHWM"), statusBytes("VmPTE")
	figures.Print(name, float64(elapsed-*sleepTime)/float64(*sleepers), *sleepers,
		fmt.Sprintf(", \"elapsed_ns\": %d, \"rss_bytes\": %d, \"page_table_bytes\": %d", elapsed.Nanoseconds(), rss, tables))
	fmt.Printf("{\"name\": \"%s_memory\", \"bytes\": %d, \"ops\": %d}\n", name, (rss+tables)/(*sleepers), *sleepers)
}

// ---- the set of tokio's benches/rt_multi_threaded.rs --------------------------------------------------------------

func spawnMany(name string) {
	const spawned = 10000
	measure(name, spawned, func(n int) {
		for ; n > 0; n-- {
			left := int64(spawned)
			done := make(chan bool, 1)
			for i := 0; i < spawned; i++ {
				go func() {
					if atomic.AddInt64(&left, -1) == 0 {
						done <- true
					}
				}()
			}
			<-done
		}
	})
}

func yieldMany(name string) {
	const tasks, yields = 200, 1000
	measure(name, tasks*yields, func(n int) {
		for ; n > 0; n-- {
			done := make(chan bool, tasks)
			for i := 0; i < tasks; i++ {
				go func() {
					for j := 0; j < yields; j++ {
						runtime.Gosched()
					}
					done <- true
				}()
			}
			for i := 0; i < tasks; i++ {
				<-done
			}
		}
	})
}

func pingPong(name string) {
	const pings = 1000
	measure(name, pings, func(n int) {
		for ; n > 0; n-- {
			left := int64(pings)
			done := make(chan bool, 1)
			go func() {
				for i := 0; i < pings; i++ {
					go func() {
						there, back := make(chan bool, 1), make(chan bool, 1)
						go func() { back <- <-there }()
						there <- true
						<-back
						if atomic.AddInt64(&left, -1) == 0 {
							done <- true
						}
					}()
				}
			}()
			<-done
		}
	})
}

func chainLink(done chan bool, left int) {
	if left == 0 {
		done <- true
		return
	}
	go chainLink(done, left-1)
}

func chainedSpawn(name string) {
	const links = 1000
	measure(name, links, func(n int) {
		done := make(chan bool, 1)
		for ; n > 0; n-- {
			go chainLink(done, links)
			<-done
		}
	})
}

// ---- the table ----------------------------------------------------------------------------------------------------

var benches = []struct {
	name  string
	procs int
	run   func(name string)
}{
	{"yield", 1, yield},
	{"spawn_join", 1, spawnJoin},
	{"chan_unbuffered_roundtrip", 1, chanUnbuffered},
	{"chan_buffered_pair", 1, chanBuffered},
	{"mutex_pair", 1, mutexPair},
	{"wake_parked", 2, wakeParked},
	{"skynet", 1, skynet},
	{"skynet_2", 2, skynet},
	{"thread_ring", 1, threadRing},
	{"whispers", 1, whispers},
	{"sieve", 1, sieve},
	{"sleepers", 1, sleepMany},
	{"spawn_many", 2, spawnMany},
	{"yield_many", 2, yieldMany},
	{"ping_pong", 2, pingPong},
	{"chained_spawn", 2, chainedSpawn},
}

func main() {
	log.SetFlags(0)
	flag.Parse()
	for _, name := range flag.Args() {
		found := false
		for _, bench := range benches {
			if name == "all" || name == bench.name {
				runtime.GOMAXPROCS(bench.procs)
				bench.run(bench.name)
				found = true
			}
		}
		if !found {
			log.Fatalf("prims: there is no '%s'", name)
		}
	}
}
