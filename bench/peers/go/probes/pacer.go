// SPDX-License-Identifier: MIT

package main

import (
	"bytes"
	"fmt"
	"math"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strings"

	"peers/rtstats"
)

const (
	warm   = 3 // cycles until the pacer has measured
	recent = 5 // cycles whose largest runway counts
)

// gcLine is what a line of GODEBUG=gctrace=1 says of a cycle: milliseconds of marking, and MiB.
type gcLine struct {
	wall, assist, background, idle              float64
	begin, end, marked, goal, stacks, roots     float64
	ignoredSweep, ignoredTerm, ignoredA, ignorB float64
}

// runPacer: what the next cycle will be, reckoned from the lines of the last ones and the equations of the runtime's mgcpacer.go,
// against what it was. With A, B and C the heap when a cycle began, when marking ended, and what was marked, S and R stacks and roots:
//
//	goal'     C + (C + S + R)·GOGC/100, at least 4 MiB·GOGC/100
//	runway'   3·(B − A)·(used + idle)/(1 − used), with the parts of the CPU time that marking used; the largest of the last five
//	trigger'  goal' − runway', between C + 0.7·(goal' − C) and the larger of C + 0.95·(goal' − C) and goal' − 4 MiB
//	CPU'      this cycle's marking time a byte, times the bytes that are to be marked next
//
// The goal is the pacer's own definition with its own printed figures: it is in the series, but that it comes out says nothing of a
// prediction, so there is no figure of its error. Lines have whole MiB, the rest cut off, so heaps below some 30 MiB are foretold badly;
// rounding_percent is how far off the trigger may seem to be, in the mean, by that alone.
func runPacer(r *result) error {
	if r.args["child"] == 1 {
		liveThrough(r)
		return nil
	}
	lines, err := gcTrace(r)
	if err != nil {
		return err
	}
	if len(lines) < 2 {
		return fmt.Errorf("the collector wrote %d lines, too few to compare", len(lines))
	}
	var goal, trigger, cpu comparison
	gamma, workers := float64(r.args["gogc"])/100, float64(r.args["workers"])
	rounding, triggers := 0.0, 0.0
	for i, next := range lines[1:] {
		p := foretell(lines[:i+1], gamma, workers, 0, 0)
		goal.add(p.goal, next.goal)
		trigger.add(p.begin, next.begin)
		cpu.add(p.background, next.cpu())
		if next.begin > 0 {
			rounding += roundingOf(lines[:i+1], p.begin, gamma, workers) / next.begin
			triggers++
		}
	}
	goal.series(r, "goal_mib")
	trigger.series(r, "trigger_mib")
	cpu.series(r, "mark_cpu_ms")
	trigger.errors(r, "trigger_mib")
	cpu.errors(r, "mark_cpu_ms")
	r.figure(float64(len(lines)-1), "cycles")
	if triggers > 0 {
		r.figure(rounding/triggers*100, "rounding_percent")
	}
	return nil
}

// liveThrough is the child's: a heap that grows from cycle to cycle.
func liveThrough(r *result) {
	debug.SetGCPercent(int(r.args["gogc"]))
	live = grow(r.args["live"] / treeBytes)
	runtime.GC()
	var list *tree
	until := rtstats.Read().Cycles + r.args["cycles"] + warm
	for made := uint64(0); rtstats.Read().Cycles < until; {
		for range batch {
			node := newTree()
			if made++; made%r.args["keep"] == 0 {
				node.left, list = list, node
			}
		}
	}
	runtime.KeepAlive(list)
}

func gcTrace(r *result) ([]gcLine, error) {
	args := []string{"pacer", "child=1"}
	for _, name := range []string{"live", "cycles", "keep", "gogc", "workers"} {
		args = append(args, fmt.Sprintf("%s=%d", name, r.args[name]))
	}
	var trace bytes.Buffer
	child := &exec.Cmd{Stderr: &trace}
	if err := runAgain(child, []string{"GODEBUG=gctrace=1"}, child.Run, args...); err != nil {
		return nil, fmt.Errorf("the traced child: %w: %s", err, trace.String())
	}
	var lines []gcLine
	_, text, forced := strings.Cut(trace.String(), "(forced)\n") // the collection that was asked for ends the making of the tree
	if !forced {
		return nil, fmt.Errorf("the trace has no forced collection: %s", trace.String())
	}
	for line := range strings.Lines(text) {
		var l gcLine
		_, rest, found := strings.Cut(line, "%: ")
		if !found {
			continue
		}
		n, _ := fmt.Sscanf(strings.NewReplacer("+", " ", "/", " ", "->", " ").Replace(rest),
			"%g %g %g ms clock, %g %g %g %g %g ms cpu, %g %g %g MB, %g MB goal, %g MB stacks, %g MB globals",
			&l.ignoredSweep, &l.wall, &l.ignoredTerm, &l.ignoredA, &l.assist, &l.background, &l.idle, &l.ignorB,
			&l.begin, &l.end, &l.marked, &l.goal, &l.stacks, &l.roots)
		if n == 14 {
			lines = append(lines, l)
		}
	}
	if len(lines) <= warm {
		return nil, fmt.Errorf("the trace has %d cycles", len(lines))
	}
	lines = lines[warm:]
	return lines[:min(len(lines), int(r.args["cycles"]))], nil
}

func (l *gcLine) cpu() float64 {
	return l.assist + l.background + l.idle
}

// runway is what is made while marking, by what each side has of the CPU time.
func (l *gcLine) runway(workers, madeOff float64) float64 {
	cpu := l.wall * workers
	if cpu <= 0 {
		return 0
	}
	used := min(0.25+l.assist/cpu, 0.99)
	return 3 * max(l.end-l.begin+madeOff, 0) * (used + min(l.idle/cpu, 1-used)) / (1 - used)
}

// foretell is the cycle after the last of these: its goal, its begin (the trigger), and all of marking's time as background; had the last
// line said the sizes, and what was made while marking, so much larger.
func foretell(lines []gcLine, gamma, workers, sizesOff, madeOff float64) (next gcLine) {
	last := lines[len(lines)-1]
	last.marked += sizesOff
	last.stacks += sizesOff
	last.roots += sizesOff
	next.goal = max(last.marked+(last.marked+last.stacks+last.roots)*gamma, 4*gamma)
	runway := 0.0
	for i := max(0, len(lines)-recent); i < len(lines); i++ {
		runway = max(runway, lines[i].runway(workers, madeOff))
	}
	span := next.goal - last.marked
	lower := last.marked + span*0.7
	upper := max(last.marked+span*0.95, next.goal-4, lower)
	next.begin = min(max(next.goal-runway, lower), upper)
	marked := last.marked
	if len(lines) > 1 {
		marked += last.marked - lines[len(lines)-2].marked
	}
	if last.marked > 0 {
		next.background = last.cpu() / last.marked * marked
	}
	return next
}

// roundingOf is how far from the trigger that was a right prediction may seem to be, by rounding alone: what is printed is less than what
// is by up to 1 MiB, the trigger that was too, and a difference of two is off by as much to either side.
func roundingOf(lines []gcLine, said, gamma, workers float64) float64 {
	most := foretell(lines, gamma, workers, 1, -1).begin
	least := foretell(lines, gamma, workers, 0, 1).begin
	return max(most-said, said-least+1)
}

type comparison struct{ predicted, actual []float64 }

func (c *comparison) add(predicted, actual float64) {
	c.predicted, c.actual = append(c.predicted, predicted), append(c.actual, actual)
}

func (c *comparison) series(r *result, name string) {
	for i, predicted := range c.predicted {
		r.point(name+"_predicted", float64(i+1), predicted)
		r.point(name+"_actual", float64(i+1), c.actual[i])
	}
}

func (c *comparison) errors(r *result, name string) {
	sum, largest, errors := 0.0, 0.0, 0
	for i, predicted := range c.predicted {
		if c.actual[i] > 0 { // of nothing there is no error in percent
			off := math.Abs(predicted/c.actual[i]-1) * 100
			sum += off
			largest = max(largest, off)
			errors++
		}
	}
	if errors > 0 {
		r.figure(sum/float64(errors), "%s_error_percent", name)
		r.figure(largest, "%s_error_max_percent", name)
	}
}
