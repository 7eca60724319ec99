// Package frameworks shows httpadapter under the routers that speak net/http: [Chi], [Gin] and [Echo] are the same small application. [GRPC] is a server of
// remote calls, and [Socket] a WebSocket under Fiber.
//
// chi takes the middleware as it is, echo through its own wrapper; gin is wrapped as a whole, because its context insists on a ResponseWriter of its
// own kind. It is a module of its own, since nothing else here needs these libraries.
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

// parts are the middleware and the endpoints, the same for each router.
func parts(m *counterfoil.Manager) (sessions func(http.Handler) http.Handler, endpoints http.Handler, err error) {
	if sessions, err = httpadapter.New(httpadapter.Config{Manager: m}); err != nil {
		return nil, nil, err
	}
	endpoints, err = httpadapter.Endpoints(m)
	return sessions, endpoints, err
}

// Chi serves the application with chi.
func Chi(m *counterfoil.Manager) (http.Handler, error) {
	sessions, endpoints, err := parts(m)
	if err != nil {
		return nil, err
	}
	r := chi.NewRouter()
	r.Use(sessions)
	r.Handle("/session/*", endpoints)
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
	sessions, endpoints, err := parts(m)
	if err != nil {
		return nil, err
	}
	gin.SetMode(gin.ReleaseMode)
	r := gin.New()
	r.Any("/session/*path", gin.WrapH(endpoints))
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
	sessions, endpoints, err := parts(m)
	if err != nil {
		return nil, err
	}
	e := echo.New()
	e.Use(echo.WrapMiddleware(sessions))
	e.Any("/session/*", echo.WrapHandler(endpoints))
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
	return e, nil
}
