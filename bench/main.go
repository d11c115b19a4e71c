// Command bench measures what the library costs, beside the physical limit and beside its peers, in one process and one run. It
// writes a page with tables and plots for each part, and an index.
//
//	make bench                                    # from the root of the repository: all parts
//	cd bench && go run . -part tokens -out /tmp/x # one of them, elsewhere
//	cd bench && go run . -short                   # every case once, nothing written
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"strings"
	"time"
)

// Part is one page: a noun of the table of contents. Each has a file of its own here.
type Part struct {
	Name  string // of its page, and for -part
	Title string
	Intro string // what is measured and how, in a paragraph or two
	Run   func(*Run) error
	Ready func() error // nil, or what is missing on this machine: then the part runs only where it is named
}

func parts() []Part {
	return []Part{tokensPart, hashPart, listsPart, writesPart, importPart, nodesPart, clusterPart}
}

func main() {
	log.SetFlags(0)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if os.Getenv(childEnv) != "" {
		if err := beChild(ctx); err != nil {
			log.Fatal(err)
		}
		return
	}
	names := flag.String("part", "", "which parts, separated by commas; default: all")
	out := flag.String("out", "../docs/performance", "the folder to write to")
	rounds := flag.Int("rounds", 300, "how often each case has a slice")
	slice := flag.Duration("slice", 25*time.Millisecond, "how long one slice is")
	short := flag.Bool("short", false, "every case once, few of everything, nothing written")
	flag.Parse()
	if *short {
		*out = ""
	}
	if err := measure(ctx, *names, *out, *rounds, *slice, *short); err != nil {
		log.Fatal(err)
	}
}

// measure runs the named parts, or all, and writes their pages into the folder out, if there is one.
func measure(ctx context.Context, names, out string, rounds int, slice time.Duration, short bool) error {
	if short {
		rounds, slice = 2, time.Millisecond
	}
	wanted := map[string]bool{}
	for name := range strings.SplitSeq(names, ",") {
		wanted[name] = true
	}
	var known []string
	for _, p := range parts() {
		known = append(known, p.Name)
		if names != "" && !wanted[p.Name] {
			continue
		}
		if p.Ready != nil && names == "" {
			if err := p.Ready(); err != nil {
				log.Printf("%s is left out: %v", p.Name, err)
				continue
			}
		}
		delete(wanted, p.Name)
		run := &Run{Context: ctx, Short: short, Rounds: rounds, Slice: slice, began: time.Now()}
		err := p.Run(run)
		run.cleanUp()
		if err != nil {
			return fmt.Errorf("%s: %w", p.Name, err)
		}
		if out == "" {
			continue
		}
		if err := writePage(out, p, run); err != nil {
			return err
		}
	}
	delete(wanted, "")
	for name := range wanted {
		return fmt.Errorf("there is no part %q, but %s", name, strings.Join(known, ", "))
	}
	return nil
}
