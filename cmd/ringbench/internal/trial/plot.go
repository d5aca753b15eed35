package trial

import (
	"bytes"
	"fmt"
	"image/color"
	"maps"
	"math"
	"os"
	"slices"
	"strconv"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/plotutil"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// A Chart is a picture of figures over a quantity.
type Chart struct {
	Title, X, Y string
	// Log spaces X by its logarithm, with a tick at each value that occurs. LogY does so for Y, between powers of ten.
	Log, LogY bool
	Lines     []Line
}

// A Line is one series of figures. Those that are NaN are left out.
type Line struct {
	Name   string
	Points []Point
}

// A Point is a figure with its spread at X.
type Point struct {
	X float64
	Spread
}

const (
	chartWidth  = 16 * vg.Centimeter
	chartHeight = 9 * vg.Centimeter
	margin      = vg.Centimeter / 2
)

// SVG draws the chart into a file. Y begins at zero unless LogY is set.
func (c *Chart) SVG(path string) error {
	p := plot.New()
	p.Title.Text, p.X.Label.Text, p.Y.Label.Text = c.Title, c.X, c.Y
	p.Legend.Top, p.Legend.Left = true, true
	p.Add(plotter.NewGrid())
	ticks := map[float64]bool{}
	for i, line := range c.Lines {
		var points spreads
		for _, at := range line.Points {
			if !math.IsNaN(at.Median) {
				points = append(points, at)
				ticks[at.X] = true
			}
		}
		if len(points) == 0 {
			continue
		}
		if err := addLine(p, line.Name, points, plotutil.DarkColors[i%len(plotutil.DarkColors)]); err != nil {
			return fmt.Errorf("draw %s of %s: %w", line.Name, path, err)
		}
	}
	if c.LogY && len(ticks) > 0 {
		p.Y.Scale, p.Y.Tick.Marker = plot.LogScale{}, plot.LogTicks{Prec: -1}
		p.Y.Min = math.Pow(10, math.Floor(math.Log10(p.Y.Min)))
		p.Y.Max = math.Pow(10, math.Ceil(math.Log10(p.Y.Max)))
		p.Legend.Left = false // such lines fall
	} else {
		p.Y.Min = 0
	}
	if c.Log && len(ticks) > 0 {
		p.X.Scale = plot.LogScale{}
		var marks []plot.Tick
		labelled := 0.0
		for _, x := range slices.Sorted(maps.Keys(ticks)) {
			mark := plot.Tick{Value: x}
			if x >= 2*labelled { // nearer ones would overlap
				labelled, mark.Label = x, strconv.FormatFloat(x, 'f', -1, 64)
			}
			marks = append(marks, mark)
		}
		p.X.Tick.Marker = plot.ConstantTicks(marks)
	}
	canvas := vgsvg.New(chartWidth, chartHeight)
	p.Draw(draw.Crop(draw.New(canvas), 0, -margin, 0, 0)) // for the half of the last label that is beyond the axis
	var text bytes.Buffer
	if _, err := canvas.WriteTo(&text); err != nil {
		return err
	}
	return os.WriteFile(path, text.Bytes(), 0o644)
}

// addLine draws a line with a mark at each point, if they are few, and a bar from least to most.
func addLine(p *plot.Plot, name string, points spreads, c color.Color) error {
	line, err := plotter.NewLine(points)
	if err != nil {
		return err
	}
	line.Color, line.Width = c, vg.Points(1.5)
	p.Add(line)
	p.Legend.Add(name, line)
	const few = 30
	if len(points) > few {
		return nil
	}
	marks, err := plotter.NewScatter(points)
	if err != nil {
		return err
	}
	marks.Color, marks.Shape, marks.Radius = c, plotutil.Shape(0), vg.Points(2.5)
	bars, err := plotter.NewYErrorBars(points)
	if err != nil {
		return err
	}
	bars.Color = c
	p.Add(marks, bars)
	return nil
}

// spreads are points as the plotter wants them.
type spreads []Point

func (s spreads) Len() int                { return len(s) }
func (s spreads) XY(i int) (x, y float64) { return s[i].X, s[i].Median }
func (s spreads) YError(i int) (below, above float64) {
	return s[i].Median - s[i].Least, s[i].Most - s[i].Median
}
