// Package frameworks shows httpadapter under the routers that speak net/http: [Chi], [Gin] and [Echo] are the same small application. [GRPC] is a
// server of remote calls, and [Socket] a WebSocket under Fiber. They are functions to copy; the tests log in, count and log out with each:
//
//	cd examples/frameworks && go test .
//
// chi takes the middleware as it is. gin is wrapped as a whole, because its context insists on a ResponseWriter of its own kind, and so is echo, because
// it answers the error that a handler returns when all its middleware has ended: too late to discard what the handler had set. It is a module of its own,
// since nothing else here needs these libraries.
package frameworks

import (
	"net/http"

	"github.com/gin-gonic/gin"
	"github.com/go-chi/chi/v5"
	"github.com/labstack/echo/v4"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/httpadapter"
)

var visits = counterfoil.NewCounter("visits")

// with returns the middleware for all of them: the endpoints, and sessions for everything else.
func with(m *counterfoil.Manager) (func(http.Handler) http.Handler, error) {
	endpoints, err := httpadapter.Endpoints(m)
	if err != nil {
		return nil, err
	}
	sessions, err := httpadapter.New(httpadapter.Config{Manager: m})
	if err != nil {
		return nil, err
	}
	return func(next http.Handler) http.Handler { return endpoints(sessions(next)) }, nil
}

// Chi serves the application with chi.
func Chi(m *counterfoil.Manager) (http.Handler, error) {
	sessions, err := with(m)
	if err != nil {
		return nil, err
	}
	r := chi.NewRouter()
	r.Use(sessions)
	r.Post("/login", func(w http.ResponseWriter, r *http.Request) {
		if err := httpadapter.Login(r, r.FormValue("name"), counterfoil.LoginOptions{}); err != nil {
			httpadapter.Refuse(w, r, err)
		}
	})
	r.With(httpadapter.Require).Get("/", func(w http.ResponseWriter, r *http.Request) {
		if _, err := visits.Incr(r.Context(), httpadapter.Session(r), 1); err != nil {
			httpadapter.Refuse(w, r, err)
			return
		}
		_, _ = w.Write([]byte(httpadapter.Session(r).Subject()))
	})
	return r, nil
}

// Gin serves the application with gin.
func Gin(m *counterfoil.Manager) (http.Handler, error) {
	sessions, err := with(m)
	if err != nil {
		return nil, err
	}
	gin.SetMode(gin.ReleaseMode)
	r := gin.New()
	r.POST("/login", func(c *gin.Context) {
		if err := httpadapter.Login(c.Request, c.PostForm("name"), counterfoil.LoginOptions{}); err != nil {
			httpadapter.Refuse(c.Writer, c.Request, err)
		}
	})
	r.GET("/", gin.WrapH(httpadapter.Require(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := visits.Incr(r.Context(), httpadapter.Session(r), 1); err != nil {
			httpadapter.Refuse(w, r, err)
			return
		}
		_, _ = w.Write([]byte(httpadapter.Session(r).Subject()))
	}))))
	return sessions(r), nil
}

// Echo serves the application with echo.
func Echo(m *counterfoil.Manager) (http.Handler, error) {
	sessions, err := with(m)
	if err != nil {
		return nil, err
	}
	e := echo.New()
	e.POST("/login", func(c echo.Context) error {
		if err := httpadapter.Login(c.Request(), c.FormValue("name"), counterfoil.LoginOptions{}); err != nil {
			httpadapter.Refuse(c.Response(), c.Request(), err)
			return nil
		}
		return c.NoContent(http.StatusOK)
	})
	e.GET("/", func(c echo.Context) error {
		s := httpadapter.Session(c.Request())
		if _, err := visits.Incr(c.Request().Context(), s, 1); err != nil {
			httpadapter.Refuse(c.Response(), c.Request(), err)
			return nil
		}
		return c.String(http.StatusOK, s.Subject())
	}, echo.WrapMiddleware(httpadapter.Require))
	return sessions(e), nil
}
